//! The flags that give settings their values, for the server and for whoever wants to see what it would do.

use super::CliError;
use crate::config::{Config, ConfigError, Environment, FLAGS, FlagValue};
use clap::Args;
use std::path::PathBuf;

/// What the command line says of the configuration; everything else is in the file and the environment.
#[derive(Debug, Clone, Args)]
pub struct SettingFlags {
    /// The data directory; made if it is missing
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// The configuration to read instead of /etc/siltstone/config.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address of the S3 API; port 0 takes a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    s3_listen: Option<String>,
    /// Address of the console API [default: 127.0.0.1:8081]
    #[arg(long, value_name = "ADDR")]
    console_listen: Option<String>,
    /// Address for other nodes; closed until a cluster is initialised [default: 127.0.0.1:8082]
    #[arg(long, value_name = "ADDR")]
    cluster_listen: Option<String>,
    /// Address of metrics and health [default: 127.0.0.1:8083]
    #[arg(long, value_name = "ADDR")]
    metrics_listen: Option<String>,
}

impl SettingFlags {
    /// What reads the configuration, now and whenever the server is told to read it again.
    pub fn loader(self, env: &Environment) -> impl Fn() -> Result<Config, ConfigError> + Send + Sync + use<> {
        let Self { data_dir, config, s3_listen, console_listen, cluster_listen, metrics_listen } = self;
        let values = [data_dir, s3_listen, console_listen, cluster_listen, metrics_listen];
        let given = FLAGS.into_iter().zip(values);
        let given = given.filter_map(|((flag, section, key), value)| Some((flag, section, key, value?)));
        let flags: Vec<FlagValue> = given.collect();
        let env = env.clone();
        move || Config::load(config.as_deref(), &env, &flags)
    }

    /// Reads the configuration.
    pub fn load(self, env: &Environment) -> Result<Config, CliError> {
        Ok(self.loader(env)()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        flags: SettingFlags,
    }

    #[test]
    fn each_flag_sets_its_own_setting() {
        for (number, (flag, section, key)) in FLAGS.into_iter().enumerate() {
            let value = if section == "server" { "d".to_owned() } else { format!("127.0.0.1:{number}") };
            let line = Line::try_parse_from(["siltstone", flag, &value]).ok().unwrap();
            let config = line.flags.loader(&[].into())().unwrap();
            for (info, shown, origin) in config.entries() {
                let ours = (info.section, info.key) == (section, key);
                assert_eq!(origin.to_string() == flag, ours, "{flag} {}", info.name());
                assert!(!ours || shown == value);
            }
        }
    }
}
