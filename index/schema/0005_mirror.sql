-- When an upstream has last said that a tag points there to what it does here.
create table tag_confirmed (
	repo_id integer not null references repo (id),
	name    text    not null,
	at      bigint  not null,
	primary key (repo_id, name)
) without rowid;

-- How the last run of each replication ended, by its name.
create table replication (
	name     text   primary key,
	asked    bigint not null, -- when somebody has last asked for a run
	started  bigint not null,
	finished bigint not null, -- before started while it runs
	copied   bigint not null, -- tags
	present  bigint not null, -- tags that were the same already
	deleted  bigint not null, -- tags
	failed   bigint not null, -- tags
	bytes    bigint not null,
	error    text   not null  -- the last one, '' for none
) without rowid;
