package main

import (
	"context"
	"crypto/sha256"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// primitive is what the machine does without any server: no registry can do better.
type primitive struct {
	name  string
	value float64
	unit  string
}

// primitives measures them, each for d, with files in a folder of their own under dir.
func primitives(ctx context.Context, dir string, d time.Duration) ([]primitive, error) {
	dir, err := os.MkdirTemp(dir, "customhouse-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	commits, err := commitRate(ctx, dir, d)
	if err != nil {
		return nil, err
	}
	written, err := writeRate(ctx, dir, d)
	if err != nil {
		return nil, err
	}
	return []primitive{
		{"sha256, one core", hashRate(ctx, d), "MB/s"},
		{"4 KiB file: write, fsync, rename, fsync of the folder; 8 writers", commits, "/s"},
		{"100 MiB file: write, fsync; one writer", written, "MB/s"},
	}, nil
}

// hashRate returns MB/s.
func hashRate(ctx context.Context, d time.Duration) float64 {
	b := make([]byte, 1<<20)
	var n int
	begin := time.Now()
	for time.Since(begin) < d && ctx.Err() == nil {
		sha256.Sum256(b)
		n += len(b)
	}
	return float64(n) / 1e6 / time.Since(begin).Seconds()
}

// commitRate returns how many small files a second eight writers get onto the disk.
func commitRate(ctx context.Context, dir string, d time.Duration) (float64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	b := make([]byte, 4<<10)
	var files atomic.Int64
	var writers sync.WaitGroup
	begin := time.Now()
	for range 8 {
		writers.Go(func() {
			for time.Since(begin) < d && ctx.Err() == nil {
				name := filepath.Join(dir, strconv.FormatInt(files.Add(1), 10))
				if err := writeFile(name, b, 1); err != nil {
					cancel(err)
				}
			}
		})
	}
	writers.Wait()
	return float64(files.Load()) / time.Since(begin).Seconds(), context.Cause(ctx)
}

// writeRate returns MB/s of large files.
func writeRate(ctx context.Context, dir string, d time.Duration) (float64, error) {
	b := make([]byte, 1<<20)
	var n int
	begin := time.Now()
	for time.Since(begin) < d && ctx.Err() == nil {
		if err := writeFile(filepath.Join(dir, "large"), b, 100); err != nil {
			return 0, err
		}
		n += 100 * len(b)
	}
	return float64(n) / 1e6 / time.Since(begin).Seconds(), nil
}

// writeFile writes b so many times into a new file and commits it as name.
func writeFile(name string, b []byte, times int) error {
	f, err := os.CreateTemp(filepath.Dir(name), "new-")
	if err != nil {
		return err
	}
	defer f.Close()
	for range times {
		if _, err := f.Write(b); err != nil {
			return err
		}
	}
	return commitFile(f, name)
}
