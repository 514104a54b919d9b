//! Profiles: owners, quotas, what is allowed; and who may do what with them.
