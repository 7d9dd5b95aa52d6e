package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"customhouse"
)

// end is where the entries of a file end.
type end struct {
	last customhouse.AuditEntry // zero for no entry
	torn *torn                  // nil for nothing behind it
}

// torn is what stands behind the last entry of a file and is none: what a loss of power has left of a write, or what somebody
// has made of the end.
type torn struct {
	file     string
	at, size int64
	hash     string // SHA-256, in hexadecimal
	aside    string // the file that it is moved to before anything else is written; "" where it stays
}

func (t *torn) String() string {
	where := "they stay there"
	if t.aside != "" {
		where = "they are set aside in " + filepath.Base(t.aside)
	}
	return fmt.Sprintf("%d bytes at the end of %s, from byte %d on, are no entries, but cut short or changed: %s, with SHA-256 %s",
		t.size, filepath.Base(t.file), t.at, where, t.hash)
}

// findEnd finds the end of the file. The last entry is looked for backwards, as far as there is none. A file that was never an
// audit log is an error: nothing in it is ours to move.
func (f *File) findEnd() (e end, err error) {
	const window = 2 * maxLine // each line is whole in one of them, for they overlap
	buffer := make([]byte, min(f.size, window))
	var at int64 // where the last entry ends
	for behind := f.size; behind > 0 && at == 0; behind -= maxLine {
		from := max(0, behind-window)
		part := buffer[:behind-from]
		if _, err := f.file.ReadAt(part, from); err != nil {
			return e, err
		}
		for stop := bytes.LastIndexByte(part, '\n'); stop >= 0 && at == 0; {
			start := bytes.LastIndexByte(part[:stop], '\n') + 1
			if last, err := ParseLine(part[start:stop]); err == nil {
				e.last, at = last, from+int64(stop)+1
			}
			stop = start - 1
		}
	}
	rest := func() io.Reader { return io.NewSectionReader(f.file, at, f.size-at) }
	head, err := io.ReadAll(io.LimitReader(rest(), maxLine))
	if err != nil || len(bytes.Trim(head, "\r\n")) == 0 { // as somebody leaves it who looks at the file in an editor
		return e, err
	}
	if at == 0 && head[0] != 0 && !bytes.HasPrefix(head, []byte(firstField)[:min(len(head), len(firstField))]) { // a loss of power leaves zeros too
		return e, fmt.Errorf("%s is no audit log, and is left as it is", f.path)
	}
	sum := sha256.New()
	_, err = io.Copy(sum, rest())
	e.torn = &torn{file: f.path, at: at, size: f.size - at, hash: hex.EncodeToString(sum.Sum(nil))}
	return e, err
}

// setAside moves what is torn to a file of its own, so that the next line follows the last entry.
func (f *File) setAside() error {
	t := f.end.torn
	if t == nil {
		return nil
	}
	err := t.copy(f.file)
	if err == nil {
		err = f.file.Truncate(t.at)
	}
	if err != nil {
		return fmt.Errorf("set aside the damaged end of the file of the audit log: %w", err)
	}
	f.size, f.end.torn = t.at, nil
	return nil
}

func (t *torn) copy(file *os.File) error {
	to, err := os.OpenFile(t.aside, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, io.NewSectionReader(file, t.at, t.size))
	if err == nil {
		err = to.Sync()
	}
	if err = errors.Join(err, to.Close()); err != nil {
		return err
	}
	folder, err := os.Open(filepath.Dir(t.aside))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
