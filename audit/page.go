package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"iter"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"

	"customhouse"
	"customhouse/index"
)

// Bounds on a page. What is in one is compressed together, and read together.
const (
	maxPage        = 512 << 10 // bytes of lines
	maxPageEntries = 1000
)

// page is the part of the log that is being written.
type page struct {
	index.AuditPage
	lines []byte
	keys  []uint64
	n     int
}

// add puts an entry, whose line is line, into the page.
func (p *page) add(e *customhouse.AuditEntry, line []byte) {
	if p.n == 0 {
		p.First, p.Began, p.Ended = e.Number, e.Time, e.Time
		p.lines, p.keys = make([]byte, 0, maxPage+len(line)), make([]uint64, 0, keysOfEntry*maxPageEntries)
	}
	if e.Time.Before(p.Began) { // they come in the order in which they were handed over
		p.Began = e.Time
	}
	if last := lastOf(e); last.After(p.Ended) {
		p.Ended = last
	}
	p.n++
	p.Last, p.Hash = e.Number, e.Hash
	p.lines = append(p.lines, line...)
	p.keys = appendKeys(p.keys, e)
}

// read puts the lines of a page that was begun before into p.
func (p *page) read(text []byte) error {
	for line := range each(text) {
		e, err := ParseLine(line)
		if err != nil {
			return err
		}
		p.n++
		p.keys = appendKeys(p.keys, &e)
		p.lines = append(append(p.lines, line...), '\n')
	}
	return nil
}

func (p *page) full() bool { return len(p.lines) >= maxPage || p.n >= maxPageEntries }

// packer makes pages small, and large again.
type packer struct {
	encoder *zstd.Encoder
	decoder *zstd.Decoder
}

func newPacker() (*packer, error) {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, err
	}
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(64<<20), zstd.WithDecoderLowmem(true))
	return &packer{e, d}, err
}

// pack returns p in the form in which the index keeps it.
func (k *packer) pack(p *page) index.AuditPage {
	packed := p.AuditPage
	packed.Filter, packed.Lines = makeFilter(p.keys), k.encoder.EncodeAll(p.lines, nil)
	return packed
}

// unpack yields the lines of a page, each with its end.
func (k *packer) unpack(lines []byte) ([]byte, error) {
	plain, err := k.decoder.DecodeAll(lines, nil)
	if err != nil {
		return nil, fmt.Errorf("a page of the audit log cannot be read: %w", err)
	}
	return plain, nil
}

// each yields the lines in text, without their ends.
func each(text []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for len(text) > 0 {
			line, rest, _ := bytes.Cut(text, []byte{'\n'})
			if !yield(line) {
				return
			}
			text = rest
		}
	}
}

// A filter tells which keys may be in a page (a Bloom filter), so that the pages without them need not be read: of those
// that have none of the keys asked for, about 1 in 100 is read all the same.
const (
	bitsPerKey = 10
	probes     = 7
)

func makeFilter(keys []uint64) []byte {
	filter := make([]byte, len(keys)*bitsPerKey/8+8)
	for _, key := range keys {
		for bit := range bitsOf(key, len(filter)) {
			filter[bit/8] |= 1 << (bit % 8)
		}
	}
	return filter
}

func mayHold(filter []byte, key uint64) bool {
	for bit := range bitsOf(key, len(filter)) {
		if filter[bit/8]&(1<<(bit%8)) == 0 {
			return false
		}
	}
	return len(filter) > 0
}

func bitsOf(key uint64, bytes int) iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		if bytes == 0 {
			return
		}
		step := key>>33 | 1
		for i := range uint64(probes) {
			if !yield((key + i*step) % (uint64(bytes) * 8)) {
				return
			}
		}
	}
}

// appendKeys appends what e can be looked for by.
func appendKeys(keys []uint64, e *customhouse.AuditEntry) []uint64 {
	for _, part := range [keysOfEntry]struct{ field, text string }{
		{"account", e.Account}, {"name", e.Name}, {"tag", e.Tag}, {"digest", e.Digest}, {"decision", e.Decision}, {"client", e.Client},
	} {
		if part.text != "" {
			keys = append(keys, keyOf(part.field, kept(part.text)))
		}
	}
	return keys
}

const keysOfEntry = 6 // at most

// kept is s as a line has it: what is no text, or too long, stands there otherwise than it came.
func kept(s string) (k string) {
	const escaped = 6 // bytes of one
	if len(s) <= maxText/escaped && utf8.ValidString(s) {
		return s
	}
	_ = json.Unmarshal(appendText(nil, s, maxText), &k) // which is JSON
	return k
}

func keyOf(field, text string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(field))
	h.Write([]byte{0})
	h.Write([]byte(text))
	// FNV mixes the last bytes little; this is the finalizer of splitmix64.
	x := h.Sum64()
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
