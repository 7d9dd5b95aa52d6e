-- What tags have pointed to, each digest with the last time that the tag was set to it.
create table tag_history (
	repo_id integer not null references repo (id),
	name    text    not null,
	digest  text    not null,
	updated bigint  not null,
	primary key (repo_id, name, digest)
) without rowid;
create index tag_history_digest on tag_history (repo_id, digest);
insert into tag_history select repo_id, name, digest, updated from tag;

-- Folders of other registries whose content is read from where it lies, each named by its path.
create table adopted (
	source text   primary key,
	added  bigint not null
) without rowid;

-- What has been taken over from a folder, by its repositories: links are the 8-byte marks of all links that were good,
-- and depth is how deep they were verified. A pass that finds the same marks has nothing to do.
create table adopted_repo (
	source   text    not null references adopted (source),
	repo     text    not null,
	depth    integer not null,
	links    blob    not null,
	finished bigint  not null,
	primary key (source, repo)
) without rowid;
