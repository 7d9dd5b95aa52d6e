package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"customhouse"
)

// File is a file that lines are written to. When it is large or old it is set aside, as FILE.1, and those before it move
// on to FILE.2 and so forth.
type File struct {
	path   string
	rotate Rotation
	now    func() time.Time
	file   *os.File
	size   int64
	began  time.Time // of the first entry; zero for none
	end    end       // as it was when the file was opened
	plain  bool      // a pipe or a terminal: nothing can be set aside
}

// Rotation is when a file is set aside, and how many of those are kept. 0 is never, and all.
type Rotation struct {
	Size  int64 // bytes
	Age   time.Duration
	Files int
}

// OpenFile opens the file at path, or makes it. What is no entry at its end is set aside when the first line is written, in
// FILE.damaged-TIME.
func OpenFile(path string, r Rotation) (*File, error) {
	f := &File{path: path, rotate: r, now: time.Now}
	return f, f.open()
}

// ToWriter is a File that writes lines to w, such as os.Stderr, and keeps nothing.
func ToWriter(w *os.File) *File { return &File{file: w, plain: true} }

func (f *File) open() (err error) {
	if f.file, err = os.OpenFile(f.path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600); err != nil {
		return fmt.Errorf("open the file of the audit log: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.file.Close())
		}
	}()
	info, err := f.file.Stat()
	if err != nil {
		return err
	}
	f.size, f.plain, f.began, f.end = info.Size(), !info.Mode().IsRegular(), time.Time{}, end{}
	if f.plain || f.size == 0 {
		return nil
	}
	if f.end, err = f.findEnd(); err != nil {
		return err
	}
	if t := f.end.torn; t != nil {
		t.aside = f.path + ".damaged-" + f.now().UTC().Format("20060102T150405Z")
	}
	first := make([]byte, maxLine)
	n, err := f.file.ReadAt(first, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	line, _, _ := bytes.Cut(first[:n], []byte{'\n'})
	if e, err := ParseLine(line); err == nil {
		f.began = e.Time
	} else {
		f.began = info.ModTime()
	}
	return nil
}

// last returns the last entry in the file, or in the one before where it has none; the zero AuditEntry when there is none. What
// is torn behind it comes with it.
func (f *File) last() (last customhouse.AuditEntry, all []*torn, err error) {
	if f.end.torn != nil {
		all = append(all, f.end.torn)
	}
	if f.plain || f.end.last.Number > 0 {
		return f.end.last, all, nil
	}
	before := File{path: f.path + ".1"}
	if before.file, err = os.Open(before.path); errors.Is(err, fs.ErrNotExist) {
		return last, all, nil
	}
	if err != nil {
		return last, nil, err
	}
	defer before.file.Close()
	info, err := before.file.Stat()
	if err != nil {
		return last, nil, err
	}
	before.size = info.Size()
	e, err := before.findEnd()
	if e.torn != nil {
		all = append(all, e.torn)
	}
	return e.last, all, err
}

// append writes whole lines, and waits until they are on disk. After an error none of them is there.
func (f *File) append(lines []byte) error {
	if len(lines) == 0 {
		return nil
	}
	if f.plain {
		_, err := f.file.Write(lines)
		return err
	}
	if err := f.setAside(); err != nil {
		return err
	}
	old := f.rotate.Age > 0 && !f.began.IsZero() && f.now().Sub(f.began) > f.rotate.Age
	if large := f.rotate.Size > 0 && f.size+int64(len(lines)) > f.rotate.Size; f.size > 0 && (old || large) {
		if err := f.turn(); err != nil {
			return err
		}
	}
	_, err := f.file.Write(lines)
	if err == nil {
		err = f.file.Sync()
	}
	if err != nil {
		return errors.Join(err, f.file.Truncate(f.size))
	}
	if f.size == 0 {
		f.began = f.now()
	}
	f.size += int64(len(lines))
	return nil
}

// turn sets the file aside and begins another one.
func (f *File) turn() error {
	name := func(i int) string { return fmt.Sprintf("%s.%d", f.path, i) }
	n := 1
	for ; n != f.rotate.Files; n++ { // up to the first that is free, or the last that is kept
		if _, err := os.Lstat(name(n)); errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	for i := n; i > 1; i-- {
		if err := os.Rename(name(i-1), name(i)); err != nil {
			return err
		}
	}
	if err := os.Rename(f.path, name(1)); err != nil {
		return err
	}
	before := f.file
	if err := f.open(); err != nil {
		f.file = before // which is FILE.1 now; what comes goes there rather than nowhere
		return err
	}
	return before.Close()
}

// Close closes the file, unless it is not its own.
func (f *File) Close() error {
	if f.path == "" {
		return nil
	}
	return f.file.Close()
}
