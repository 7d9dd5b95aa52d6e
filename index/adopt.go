package index

import (
	"context"
	"database/sql"
	"time"

	"customhouse"
)

// Load is content of one repository that is in a store already, such as what a folder of another registry holds.
type Load struct {
	Blobs     []customhouse.Descriptor // digest and size; become visible
	Manifests []Loaded
	Tags      []TagAt // become what tags point to, unless they were set later than this
	History   []TagAt // what tags have pointed to
}

// Loaded is a manifest and since when the repository has had it.
type Loaded struct {
	Manifest
	Names   *Names // all that it names; nil leaves that to NoteNames
	Created time.Time
}

// TagAt is a tag that was set to a manifest at a time.
type TagAt struct {
	Tag    customhouse.Tag
	Digest customhouse.Digest
	At     time.Time
}

// Load takes what is in a store already into the repository. Unlike PutManifest it asks for nothing that manifests name,
// and leaves out tags of manifests that are not in the repository. What is there stays as it is. It survives a crash of
// the process; a loss of power may take it back, together with every later Load and MarkAdopted, until Sync.
func (db *DB) Load(ctx context.Context, repo customhouse.Repo, l Load) error {
	annotations := make([]string, len(l.Manifests))
	for i, m := range l.Manifests {
		var err error
		if annotations[i], err = encodeAnnotations(m.Annotations); err != nil {
			return err
		}
	}
	defer db.manifests.changes.begin(repo.String())()
	return db.writer.write(ctx, false, func(t *tx) error {
		if err := db.makeRepo(ctx, t, repo); err != nil {
			return err
		}
		id, err := repoID(ctx, t, repo)
		if err != nil {
			return err
		}
		for _, b := range l.Blobs {
			err := t.exec(ctx, "insert into repo_blob (repo_id, digest, size) values (?, ?, ?) on conflict (repo_id, digest) do nothing",
				id, b.Digest.String(), b.Size)
			if err != nil {
				return err
			}
		}
		for i, m := range l.Manifests {
			if err := insertManifest(ctx, t, id, m.Manifest, annotations[i], m.Created.Unix(), false, m.Names); err != nil {
				return err
			}
		}
		if len(l.Manifests) > 0 {
			if err := listRepo(ctx, t, repo, true); err != nil {
				return err
			}
		}
		return loadTags(ctx, t, id, l)
	})
}

func loadTags(ctx context.Context, t *tx, id int64, l Load) error {
	for _, tag := range l.Tags {
		err := t.exec(ctx, `insert into tag (repo_id, name, digest, updated) select repo_id, ?, digest, ? from manifest where repo_id = ? and digest = ?
			on conflict (repo_id, name) do update set digest = excluded.digest, updated = excluded.updated where excluded.updated >= tag.updated`,
			tag.Tag.String(), tag.At.Unix(), id, tag.Digest.String())
		if err != nil {
			return err
		}
	}
	for _, tag := range l.History {
		err := t.exec(ctx, `insert into tag_history (repo_id, name, digest, updated) select repo_id, ?, digest, ? from manifest where repo_id = ? and digest = ?
			on conflict (repo_id, name, digest) do update set updated = excluded.updated where excluded.updated > tag_history.updated`,
			tag.Tag.String(), tag.At.Unix(), id, tag.Digest.String())
		if err != nil {
			return err
		}
	}
	return nil
}

// remember notes that the tag was set to d.
func remember(ctx context.Context, t *tx, repo customhouse.Repo, tag customhouse.Tag, d customhouse.Digest, now int64) error {
	return t.exec(ctx, "insert into tag_history (repo_id, name, digest, updated) values ("+idOf+", ?, ?, ?)"+
		" on conflict (repo_id, name, digest) do update set updated = excluded.updated", repo.String(), tag.String(), d.String(), now)
}

// AddAdopted remembers a folder whose content is read from where it lies.
func (db *DB) AddAdopted(ctx context.Context, source string) error {
	return db.writer.write(ctx, true, func(t *tx) error {
		return t.exec(ctx, "insert into adopted (source, added) values (?, ?) on conflict (source) do nothing", source, db.now().Unix())
	})
}

// Adopted returns the folders whose content is read from where it lies, those added first first.
func (db *DB) Adopted(ctx context.Context) ([]string, error) {
	var sources []string
	err := db.rows(ctx, func(r *sql.Rows) error {
		var s string
		err := r.Scan(&s)
		sources = append(sources, s)
		return err
	}, "select source from adopted order by added, source")
	return sources, err
}

// AdoptedRepo returns what MarkAdopted was told last about a repository of a folder. customhouse.ErrNotFound.
func (db *DB) AdoptedRepo(ctx context.Context, source, repo string) (depth int, links []byte, err error) {
	err = db.row(ctx, "select depth, links from adopted_repo where source = ? and repo = ?", source, repo).scan(&depth, &links)
	return depth, links, err
}

// AdoptedRepos returns the repositories of a folder of which MarkAdopted was told.
func (db *DB) AdoptedRepos(ctx context.Context, source string) (map[string]bool, error) {
	names := map[string]bool{}
	err := db.rows(ctx, func(r *sql.Rows) error {
		var name string
		err := r.Scan(&name)
		names[name] = true
		return err
	}, "select repo from adopted_repo where source = ?", source)
	return names, err
}

// MarkAdopted remembers what has been taken over of a repository of a folder, as durably as Load.
func (db *DB) MarkAdopted(ctx context.Context, source, repo string, depth int, links []byte) error {
	return db.writer.write(ctx, false, func(t *tx) error {
		return t.exec(ctx, `insert into adopted_repo (source, repo, depth, links, finished) values (?, ?, ?, ?, ?)
			on conflict (source, repo) do update set depth = excluded.depth, links = excluded.links, finished = excluded.finished`,
			source, repo, depth, links, db.now().Unix())
	})
}

// Sync makes all earlier writes survive a loss of power.
func (db *DB) Sync(ctx context.Context) error {
	return db.writer.write(ctx, true, func(t *tx) error { // a commit that changes nothing syncs nothing
		return t.exec(ctx, "update schema_version set version = version where version = (select max(version) from schema_version)")
	})
}
