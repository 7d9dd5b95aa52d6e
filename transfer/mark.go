package transfer

import (
	"encoding/binary"
	"errors"
	"hash/fnv"
	"io"
	"slices"
)

// mark is what a link is known by between two passes: where it is and when it was written.
type mark struct {
	name uint64 // hash of its path
	at   int64  // Unix nanoseconds
}

func nameMark(path string) uint64 {
	h := fnv.New64a()
	io.WriteString(h, path)
	return h.Sum64()
}

// marks are those of the links of one repository that were good.
type marks map[uint64]int64

func (ms marks) has(m mark) bool {
	at, ok := ms[m.name]
	return ok && at == m.at
}

// encode writes the marks, 16 bytes each.
func (ms marks) encode() []byte {
	names := make([]uint64, 0, len(ms))
	for name := range ms {
		names = append(names, name)
	}
	slices.Sort(names)
	b := make([]byte, 0, 16*len(ms))
	for _, name := range names {
		b = binary.BigEndian.AppendUint64(b, name)
		b = binary.BigEndian.AppendUint64(b, uint64(ms[name]))
	}
	return b
}

func decodeMarks(b []byte) (marks, error) {
	if len(b)%16 != 0 {
		return nil, errors.New("damaged notes of an earlier pass")
	}
	ms := make(marks, len(b)/16)
	for ; len(b) > 0; b = b[16:] {
		ms[binary.BigEndian.Uint64(b)] = int64(binary.BigEndian.Uint64(b[8:]))
	}
	return ms, nil
}
