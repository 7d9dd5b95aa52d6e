package blob

import (
	"bytes"
	"context"
	"io"
	"sync"

	"customhouse"
)

var _ Store = (*Memory)(nil)

// Memory is a Store that ends with the process, for tests and for trying things out. Its zero value is empty.
type Memory struct {
	mu         sync.Mutex
	generation uint64
	uploads    map[string]object
	content    map[customhouse.Digest]object
}

type object struct {
	bytes   []byte
	version Version
}

// Append implements Store.
func (s *Memory) Append(_ context.Context, id string, offset int64, r io.Reader) (int64, error) {
	s.mu.Lock()
	head := s.uploads[id].bytes
	s.mu.Unlock()
	if int64(len(head)) < offset {
		return 0, ErrNotFound
	}
	tail, readErr := io.ReadAll(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.uploads == nil {
		s.uploads = map[string]object{}
	}
	s.uploads[id] = s.written(append(bytes.Clone(head[:offset]), tail...))
	return int64(len(tail)), readErr
}

// Reread implements Store.
func (s *Memory) Reread(_ context.Context, id string) (Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.uploads[id].open()
}

// written returns a new object; mu is held.
func (s *Memory) written(b []byte) object {
	s.generation++
	return object{bytes: b, version: Version{Size: int64(len(b)), Generation: s.generation}}
}

// Commit implements Store.
func (s *Memory) Commit(_ context.Context, id string, d customhouse.Digest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.uploads[id]
	if !ok {
		return ErrNotFound
	}
	if s.content == nil {
		s.content = map[customhouse.Digest]object{}
	}
	s.content[d] = s.written(o.bytes)
	delete(s.uploads, id)
	return nil
}

// Discard implements Store.
func (s *Memory) Discard(_ context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.uploads, id)
	return nil
}

// Open implements Store.
func (s *Memory) Open(_ context.Context, d customhouse.Digest) (Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.content[d].open()
}

// open returns the object, unless it is the zero one, which nobody has written.
func (o object) open() (Object, error) {
	if o.version == (Version{}) {
		return Object{}, ErrNotFound
	}
	return Object{ReadSeekCloser: nopCloser{bytes.NewReader(o.bytes)}, Size: int64(len(o.bytes)), Version: o.version}, nil
}

// Quarantine implements Store.
func (s *Memory) Quarantine(_ context.Context, d customhouse.Digest, wrong Version) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.content[d].version == wrong {
		delete(s.content, d)
	}
	return nil
}

type nopCloser struct{ io.ReadSeeker }

func (nopCloser) Close() error { return nil }
