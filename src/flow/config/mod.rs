//! An embedded Flow as its user writes it: `embedded:` in a scenario file, `--config` of `serve`.

mod behaviour;
mod condition;
mod flow;
mod problems;
mod schema;
mod service_time;

pub use self::behaviour::{
    Append, Behaviour, Down, ExceptionConfig, Fail, Faults, Late, Matches, Set, SlowStart, Stall,
    StreamOf,
};
pub use self::condition::{Condition, ConditionError};
pub use self::flow::{ExecutorConfig, FamilyName, FlowConfig, ProtocolName, TlsFiles, Uses};
pub use self::problems::{FlowProblem, PathStep};
pub use self::schema::SchemaSpec;
pub use self::service_time::{Knee, ServiceTime};
