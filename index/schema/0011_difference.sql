-- What a policy beside the one that holds would have decided otherwise, by kind.
create table difference (
	account     text   not null,
	type        text   not null,
	name        text   not null,
	tag         text   not null,
	action      text   not null,
	live        text   not null, -- the answer that holds
	live_rule   text   not null, -- where the rule stands that gave it
	shadow      text   not null, -- the answer that would
	shadow_rule text   not null,
	count       bigint not null,
	first       bigint not null, -- Unix nanoseconds
	last        bigint not null,
	primary key (account, type, name, tag, action, live, live_rule, shadow, shadow_rule)
);
