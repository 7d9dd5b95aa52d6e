-- What replaces a refresh token when it is used is of its family. Rotated is 0 while nothing has.
alter table refresh_token add column family text not null default '';
alter table refresh_token add column posted integer not null default 0;
alter table refresh_token add column rotated bigint not null default 0;
update refresh_token set family = lower(hex(hash));
create index refresh_token_family on refresh_token (family);
