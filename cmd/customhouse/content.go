package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"customhouse/blob"
	"customhouse/config"
	"customhouse/index"
	"customhouse/registry"
)

// content is the content of a data folder, for a command that works on it in the place of a server or beside one.
type content struct {
	*registry.Registry
	index *index.DB
	lock  *os.File // nil beside a server
}

// openContent opens the content of c's data folder to write to it, and makes what is missing. While it is open no server
// runs on the folder: what a server remembers is right because it alone writes.
func openContent(ctx context.Context, c *config.Config) (opened *content, err error) {
	if err := makeFolder(c.Data); err != nil {
		return nil, withHint(fmt.Errorf("make the data folder: %w", err), "name another folder with --data")
	}
	o := &content{}
	defer func() {
		if err != nil {
			err = errors.Join(err, o.close())
		}
	}()
	if o.lock, err = lockFolder(c.Data); err != nil {
		return nil, err
	}
	if o.index, err = index.Open(ctx, indexFile(c.Data), index.Options{}); err != nil {
		return nil, err
	}
	store, err := openStore(c, o.index)
	if err != nil {
		return nil, err
	}
	o.Registry = registry.New(o.index, store, contentOptions(c))
	return o, nil
}

// openContentBeside opens the content of c's data folder to read it, also while a server runs on it.
func openContentBeside(ctx context.Context, c *config.Config) (opened *content, err error) {
	if _, err := os.Stat(indexFile(c.Data)); errors.Is(err, fs.ErrNotExist) {
		return nil, withHint(fmt.Errorf("no registry has been started in %s", c.Data), "name its folder with --data, or its configuration with -c")
	}
	o := &content{}
	if o.index, err = index.Open(ctx, indexFile(c.Data), index.Options{}); err != nil {
		return nil, err
	}
	store, err := openStore(c, o.index)
	if err != nil {
		return nil, errors.Join(err, o.close())
	}
	o.Registry = registry.New(o.index, blob.ReadOnly{Store: store}, contentOptions(c))
	return o, nil
}

func contentOptions(c *config.Config) registry.Options {
	return registry.Options{
		Sparse: sparse[c.Storage.Sparse], ForeignLayers: c.Storage.ForeignLayers, MaxBlobSize: int64(c.Storage.MaxBlobSize),
		ScrubInterval: c.Storage.ScrubInterval,
	}
}

// openStore returns the store in c's data folder over the folders that were adopted.
func openStore(c *config.Config, db *index.DB) (*blob.Overlay, error) {
	dir, err := blob.OpenDir(c.Data, blob.Reserve{Bytes: int64(c.Storage.Reserve.Bytes), Percent: c.Storage.Reserve.Percent})
	if err != nil {
		return nil, err
	}
	return blob.NewOverlay(dir, func(ctx context.Context) ([]blob.Source, error) {
		folders, err := db.Adopted(ctx)
		sources := make([]blob.Source, len(folders))
		for i, folder := range folders {
			sources[i] = blob.Distribution(folder)
		}
		return sources, err
	})
}

func (o *content) close() error {
	var errs []error
	if o.index != nil {
		errs = append(errs, o.index.Close())
	}
	if o.lock != nil {
		errs = append(errs, o.lock.Close())
	}
	return errors.Join(errs...)
}
