use super::{DemoOptions, exit::ExitCode};
use crate::config::Config;

pub fn run(config: Config, _options: DemoOptions) -> ExitCode {
    super::serve::run(config)
}
