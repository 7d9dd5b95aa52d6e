package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash"
	"math/rand/v2"
	"net"
	"strconv"
	"sync/atomic"

	"customhouse"
)

// tailSize is how many bytes at the end of a blob make it different from all others.
const tailSize = 64

// source makes blobs of one size. They differ in their last bytes only, and the hash of all before is computed once: a
// new digest costs one block, so that hashing is the server's work and not the client's.
type source struct {
	size   int64
	chunk  []byte      // the body is this again and again, cut off before the tail
	prefix hash.Cloner // has read all before the tail (crypto/sha256 promises a Cloner)
	run    uint64      // random: other runs make other blobs
	seq    atomic.Uint64
}

// blob is content to push.
type blob struct {
	digest customhouse.Digest
	size   int64
	parts  net.Buffers // in order; read only
}

func newSource(size int64) *source {
	rnd := rand.New(rand.NewPCG(uint64(size), 1)) // incompressible and the same in each run
	chunk := make([]byte, min(size-tailSize, 1<<20))
	for i := range chunk {
		chunk[i] = byte(rnd.Uint32())
	}
	s := &source{size: size, chunk: chunk, run: rand.Uint64(), prefix: sha256.New().(hash.Cloner)}
	for part := range s.body() {
		s.prefix.Write(part)
	}
	return s
}

// body yields the bytes before the tail.
func (s *source) body() func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for left := s.size - tailSize; left > 0; {
			part := s.chunk[:min(left, int64(len(s.chunk)))]
			if !yield(part) {
				return
			}
			left -= int64(len(part))
		}
	}
}

// next returns a blob that no server has seen.
func (s *source) next() (blob, error) { return s.make(s.run, s.seq.Add(1)) }

// fixed returns the i-th blob of those that are the same in each run.
func (s *source) fixed(i int) (blob, error) { return s.make(0, uint64(i)) }

func (s *source) make(run, seq uint64) (blob, error) {
	tail := make([]byte, tailSize)
	binary.BigEndian.PutUint64(tail, run)
	binary.BigEndian.PutUint64(tail[8:], seq)
	h, err := s.prefix.Clone()
	if err != nil {
		return blob{}, err
	}
	h.Write(tail)
	b := blob{digest: customhouse.DigestSum(customhouse.SHA256, h), size: s.size}
	for part := range s.body() {
		b.parts = append(b.parts, part)
	}
	b.parts = append(b.parts, tail)
	return b, nil
}

// blobOf returns a blob that is all in b.
func blobOf(b []byte) blob {
	return blob{digest: customhouse.DigestOf(customhouse.SHA256, b), size: int64(len(b)), parts: net.Buffers{b}}
}

// pushBlob uploads b as clients do: POST opens a session, PUT to its location carries the bytes and closes it.
func (c *conn) pushBlob(repo, auth string, b blob) error {
	c.scratch = appendRequest(c.scratch[:0], "POST", "/v2/"+repo+"/blobs/uploads/", auth, "Content-Length: 0\r\n")
	if err := c.do(&exchange{wire: c.scratch, status: 202, length: -1}); err != nil {
		return fmt.Errorf("open upload: %w", err)
	}
	location := c.location
	if _, rest, ok := bytes.Cut(location, []byte("://")); ok { // docker-registry answers with an absolute URL
		location = rest[max(0, bytes.IndexByte(rest, '/')):]
	}
	mark := "?"
	if bytes.IndexByte(location, '?') >= 0 {
		mark = "&"
	}
	c.scratch = appendRequest(c.scratch[:0], "PUT", string(location)+mark+"digest="+b.digest.String(), auth,
		"Content-Type: application/octet-stream\r\nContent-Length: "+strconv.FormatInt(b.size, 10)+"\r\n")
	if err := c.send(b.parts); err != nil {
		return fmt.Errorf("send blob: %w", err)
	}
	if err := c.receive(201, -1, false); err != nil {
		return fmt.Errorf("close upload: %w", err)
	}
	c.bytes.Add(b.size)
	return nil
}

// send writes the head in scratch and body, in one system call if they are small.
func (c *conn) send(body net.Buffers) error {
	if len(body) <= 2 && len(body[0]) <= 64<<10 {
		for _, part := range body {
			c.scratch = append(c.scratch, part...)
		}
		_, err := c.tcp.Write(c.scratch)
		return err
	}
	all := append(net.Buffers{c.scratch}, body...)
	_, err := all.WriteTo(c.tcp)
	return err
}

// mountBlob lets repo have a blob of another repository, without bytes.
func (c *conn) mountBlob(repo, from, auth string, d customhouse.Digest) error {
	path := "/v2/" + repo + "/blobs/uploads/?mount=" + d.String() + "&from=" + from
	c.scratch = appendRequest(c.scratch[:0], "POST", path, auth, "Content-Length: 0\r\n")
	return c.do(&exchange{wire: c.scratch, status: 201, length: -1})
}

// pushManifest stores an OCI image manifest under a tag.
func (c *conn) pushManifest(repo, tag, auth string, manifest []byte) error {
	c.scratch = appendRequest(c.scratch[:0], "PUT", "/v2/"+repo+"/manifests/"+tag, auth,
		"Content-Type: "+customhouse.MediaTypeImageManifest+"\r\nContent-Length: "+strconv.Itoa(len(manifest))+"\r\n")
	c.scratch = append(c.scratch, manifest...)
	if err := c.do(&exchange{wire: c.scratch, status: 201, length: -1}); err != nil {
		return fmt.Errorf("push manifest: %w", err)
	}
	return nil
}

// appendRequest appends the head of a request; auth and fields are whole header lines.
func appendRequest(b []byte, method, path, auth, fields string) []byte {
	b = append(append(append(append(b, method...), ' '), path...), " HTTP/1.1\r\nHost: localhost\r\n"...)
	return append(append(append(b, auth...), fields...), "\r\n"...)
}

// imageManifest returns an OCI image manifest; mark makes it different from others with the same content.
func imageManifest(config blob, layers []blob, mark string) ([]byte, error) {
	descriptor := func(mediaType string, b blob) customhouse.Descriptor {
		return customhouse.Descriptor{MediaType: mediaType, Digest: b.digest, Size: b.size}
	}
	m := struct {
		SchemaVersion int                      `json:"schemaVersion"`
		MediaType     string                   `json:"mediaType"`
		Config        customhouse.Descriptor   `json:"config"`
		Layers        []customhouse.Descriptor `json:"layers"`
		Annotations   map[string]string        `json:"annotations"`
	}{
		SchemaVersion: 2,
		MediaType:     customhouse.MediaTypeImageManifest,
		Config:        descriptor("application/vnd.oci.image.config.v1+json", config),
		Layers:        []customhouse.Descriptor{},
		Annotations:   map[string]string{"bench": mark},
	}
	for _, layer := range layers {
		m.Layers = append(m.Layers, descriptor("application/vnd.oci.image.layer.v1.tar+gzip", layer))
	}
	return json.Marshal(m)
}
