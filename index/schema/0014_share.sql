-- Until when those without an account have used up their share of the audit log, by kind of entry.
create table audit_share (
	kind text   primary key,
	used bigint not null -- Unix nanoseconds
);
