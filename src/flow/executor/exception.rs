//! Python exceptions, as Executors raise them and gateways report them.

use crate::flow::config::ExceptionConfig;
use crate::wire::{ExceptionInfo, Family, Status};

/// A Python exception.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::flow) struct Exception {
    /// The class, `ValueError`.
    name: String,
    args: Vec<Arg>,
    /// What `repr` prints instead of name and arguments.
    message: Option<String>,
}

/// An argument of an exception, as `str` and as `repr` show it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Arg {
    str: String,
    repr: String,
}

impl Exception {
    /// An exception without arguments.
    pub(in crate::flow) fn new(name: &str) -> Exception {
        Exception { name: name.into(), args: Vec::new(), message: None }
    }

    /// Adds a string argument.
    pub(in crate::flow) fn text(self, text: impl Into<String>) -> Exception {
        let str = text.into();
        let repr = repr(&str);
        self.arg(str, repr)
    }

    /// Adds an argument that `str` and `repr` show alike, such as a number or a dict.
    pub(in crate::flow) fn value(self, shown: &str) -> Exception {
        self.arg(shown.into(), shown.into())
    }

    /// pydantic's exception, which `repr` prints as its message.
    pub(in crate::flow) fn validation(message: String) -> Exception {
        Exception { name: "ValidationError".into(), args: Vec::new(), message: Some(message) }
    }

    fn arg(mut self, str: String, repr: String) -> Exception {
        self.args.push(Arg { str, repr });
        self
    }

    /// The status of a response, with the exception raised by `method` of the Executor class `class`.
    pub(in crate::flow) fn into_status(self, class: &str, method: &str, family: Family) -> Status {
        let all = self.args.iter().map(|arg| arg.repr.as_str()).collect::<Vec<_>>().join(", ");
        let last = match self.args.as_slice() {
            [] if self.message.is_some() => {
                format!("{}: {}\n", self.name, self.message.as_deref().unwrap_or_default())
            }
            [] => format!("{}\n", self.name),
            [one] => format!("{}: {}\n", self.name, one.str),
            _ => format!("{}: ({all})\n", self.name),
        };
        let mut stacks = vec!["Traceback (most recent call last):\n".to_owned()];
        let frames = match family {
            Family::V1 => FRAMES_V1,
            Family::V2 => FRAMES_V2,
        };
        stacks.extend(frames.iter().map(|(file, line, function)| {
            format!("  File \"{file}\", line {line}, in {function}\n")
        }));
        stacks.push(format!("  File \"flowbench.py\", line 1, in {method}\n"));
        stacks.push(last);
        Status {
            code: 1,
            description: self.message.unwrap_or_else(|| format!("{}({all})", self.name)),
            exception: Some(ExceptionInfo {
                name: self.name,
                args: self.args.into_iter().map(|arg| arg.str).collect(),
                stacks,
                executor: class.to_owned(),
            }),
        }
    }
}

impl From<&ExceptionConfig> for Exception {
    fn from(config: &ExceptionConfig) -> Exception {
        config.args.iter().fold(Exception::new(&config.name), |exception, arg| exception.text(arg))
    }
}

/// Stack frames from a real Executor's server to its method.
const FRAMES_V1: &[(&str, u32, &str)] = &[
    ("__init__.py", 222, "process_data"),
    ("request_handling.py", 291, "handle"),
    ("__init__.py", 354, "__acall__"),
    ("__init__.py", 408, "__acall_endpoint__"),
    ("__init__.py", 369, "exec_func"),
    ("thread.py", 58, "run"),
    ("decorators.py", 182, "arg_wrapper"),
];
const FRAMES_V2: &[(&str, u32, &str)] = &[
    ("request_handling.py", 1128, "process_data"),
    ("request_handling.py", 739, "handle"),
    ("__init__.py", 773, "__acall__"),
    ("__init__.py", 905, "__acall_endpoint__"),
    ("__init__.py", 863, "exec_func"),
    ("thread.py", 58, "run"),
    ("decorators.py", 325, "arg_wrapper"),
];

/// A string as Python's `repr` prints it.
pub(super) fn repr(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut shown = String::with_capacity(text.len() + 2);
    shown.push(quote);
    for c in text.chars() {
        match c {
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            '\\' => shown.push_str("\\\\"),
            c if c == quote => shown.extend(['\\', c]),
            c if c.is_control() => shown.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => shown.push(c),
        }
    }
    shown.push(quote);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_is_shown_as_python_shows_it() {
        assert_eq!(repr("plain"), "'plain'");
        assert_eq!(repr("it's"), "\"it's\"");
        assert_eq!(repr("'\""), "'\\'\"'");
        assert_eq!(repr("a\nb\\"), "'a\\nb\\\\'");
    }

    #[test]
    fn a_status_reads_as_that_of_a_real_executor() {
        let exception = Exception::new("TypeError").text("failer raised a TypeError").value("7");
        let status = exception.into_status("Failer", "run", Family::V1);
        assert_eq!(status.description, "TypeError('failer raised a TypeError', 7)");
        let exception = status.exception.expect("there is one");
        assert_eq!(exception.args, ["failer raised a TypeError", "7"]);
        assert_eq!(exception.stacks.len(), 10);
        let last = exception.stacks.last().map(String::as_str);
        assert_eq!(last, Some("TypeError: ('failer raised a TypeError', 7)\n"));
    }
}
