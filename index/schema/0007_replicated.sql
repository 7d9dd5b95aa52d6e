-- Until when all that was pushed here has been replicated, in seconds; 0 for a rule that has not been looked at.
alter table replication add column sent bigint not null default 0;
