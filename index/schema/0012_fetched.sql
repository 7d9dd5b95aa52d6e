-- When a manifest that was fetched from an upstream was last asked for; 0 for one that was pushed here, or taken over.
alter table manifest add column fetched bigint not null default 0;
create index manifest_fetched on manifest (repo_id, fetched) where fetched <> 0;
