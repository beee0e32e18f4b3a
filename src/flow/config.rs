//! An embedded Flow as its user writes it: `embedded:` in a scenario file, `--config` of `serve`.

use serde::Deserialize;

/// An embedded Flow. `{}` is a Flow of one echo Executor on free ports of the three protocols.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "snake_case")]
pub struct FlowConfig {}
