//! The command line and its configuration: exit codes and what stderr says.
