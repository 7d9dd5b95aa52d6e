package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync/atomic"
	"time"
)

// errStopped ends an operation in the middle of a body, because the time of the measurement is over.
var errStopped = errors.New("stopped")

// conn is one keep-alive HTTP/1.1 connection of the load generator. It sends requests that were built beforehand, reads
// of an answer only what it must (status, framing and Location) and discards bodies, large ones without copying them out
// of the kernel: the client has one core and must not be what is measured.
type conn struct {
	tcp  *net.TCPConn
	drop *discarder
	stop *atomic.Bool // nil for never

	buf  []byte // buf[r:w] has been received and not been read
	r, w int

	scratch  []byte // requests built during an operation
	location []byte // of the last answer

	ops, bytes atomic.Int64 // done so far; bytes are those of bodies
}

// exchange is a request and what its answer has to be.
type exchange struct {
	wire   []byte // request line, header fields and body
	head   bool   // the answer has no body, whatever its Content-Length
	status int
	length int64 // of the answer's body, or -1 for any
}

// dial connects to addr ("127.0.0.1:5000"). The connection is closed when ctx ends.
func dial(ctx context.Context, addr string) (*conn, error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	tcp := nc.(*net.TCPConn)
	context.AfterFunc(ctx, func() { tcp.Close() })
	if err := tcp.SetDeadline(time.Now().Add(10 * time.Minute)); err != nil {
		return nil, err
	}
	drop, err := newDiscarder(tcp)
	if err != nil {
		return nil, err
	}
	return &conn{tcp: tcp, drop: drop, buf: make([]byte, 64<<10)}, nil
}

func (c *conn) close() { c.tcp.Close() }

// do sends x and consumes the answer.
func (c *conn) do(x *exchange) error {
	if _, err := c.tcp.Write(x.wire); err != nil {
		return err
	}
	return c.receive(x.status, x.length, x.head)
}

// receive consumes one answer, which has to have the given status and a body of length bytes (-1 for any).
func (c *conn) receive(status int, length int64, head bool) error {
	a, err := c.readHead()
	if err != nil {
		return err
	}
	if a.status != status {
		return fmt.Errorf("status %d, want %d: %.300s", a.status, status, c.buf[c.r:c.w])
	}
	if length >= 0 && a.length != length {
		return fmt.Errorf("content length %d, want %d", a.length, length)
	}
	switch {
	case head || a.status == 204:
		return nil
	case a.length < 0:
		return c.skipChunks()
	}
	return c.skip(a.length)
}

// skip discards n bytes of a body.
func (c *conn) skip(n int64) error {
	have := min(n, int64(c.w-c.r))
	c.r += int(have)
	c.bytes.Add(have)
	n -= have
	for n > 0 {
		if c.stop != nil && c.stop.Load() {
			return errStopped
		}
		got, err := c.drop.discard(n)
		if err != nil {
			return err
		}
		c.bytes.Add(got)
		n -= got
	}
	return nil
}

// skipChunks discards a body in chunked encoding (RFC 9112, section 7.1) without trailer fields.
func (c *conn) skipChunks() error {
	for {
		line, err := c.readLine()
		if err != nil {
			return err
		}
		size, err := strconv.ParseUint(string(line), 16, 31)
		if err != nil {
			return fmt.Errorf("chunk size: %w", err)
		}
		if err := c.skip(int64(size)); err != nil {
			return err
		}
		if line, err = c.readLine(); err != nil {
			return err
		}
		if len(line) > 0 {
			return fmt.Errorf("chunk does not end where it says: %.20q", line)
		}
		if size == 0 {
			return nil
		}
	}
}

// readLine returns the next line without its CRLF; it is valid until the next read.
func (c *conn) readLine() ([]byte, error) {
	for {
		if i := bytes.IndexByte(c.buf[c.r:c.w], '\n'); i >= 0 {
			line := c.buf[c.r : c.r+i]
			c.r += i + 1
			return bytes.TrimSuffix(line, []byte("\r")), nil
		}
		if err := c.fill(); err != nil {
			return nil, err
		}
	}
}

// readHead consumes the status line and the header fields of an answer and keeps its Location.
func (c *conn) readHead() (answer, error) {
	for {
		if end := bytes.Index(c.buf[c.r:c.w], []byte("\r\n\r\n")); end >= 0 {
			a, err := parseHead(c.buf[c.r : c.r+end+2])
			c.location = append(c.location[:0], a.location...)
			c.r += end + 4
			return a, err
		}
		if err := c.fill(); err != nil {
			return answer{}, err
		}
	}
}

// fill receives more bytes behind buf[r:w].
func (c *conn) fill() error {
	if c.r == c.w {
		c.r, c.w = 0, 0
	} else if c.w == len(c.buf) {
		if c.r == 0 {
			return errors.New("header does not fit the buffer")
		}
		c.w = copy(c.buf, c.buf[c.r:c.w])
		c.r = 0
	}
	n, err := c.tcp.Read(c.buf[c.w:])
	c.w += n
	if n > 0 {
		return nil
	}
	return err
}

// answer is what the load generator needs to know of a response head.
type answer struct {
	status   int
	length   int64  // of the body; -1 in chunked encoding
	location []byte // aliases the head
}

var (
	fieldLength   = []byte("content-length")
	fieldEncoding = []byte("transfer-encoding")
	fieldLocation = []byte("location")
)

// parseHead reads a status line and header fields, each ending in CRLF.
func parseHead(b []byte) (answer, error) {
	var a answer
	line, rest, _ := bytes.Cut(b, []byte("\r\n"))
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return a, fmt.Errorf("not an HTTP/1.1 answer: %.80q", line)
	}
	for _, digit := range line[9:12] {
		a.status = a.status*10 + int(digit-'0')
	}
	for len(rest) > 0 {
		line, rest, _ = bytes.Cut(rest, []byte("\r\n"))
		colon := bytes.IndexByte(line, ':')
		switch colon { // lengths first: most fields need no comparison
		case len(fieldLength):
			if bytes.EqualFold(line[:colon], fieldLength) {
				n, err := strconv.ParseInt(string(bytes.TrimSpace(line[colon+1:])), 10, 64)
				if err != nil {
					return a, fmt.Errorf("content length: %w", err)
				}
				a.length = n
			}
		case len(fieldEncoding):
			if bytes.EqualFold(line[:colon], fieldEncoding) {
				a.length = -1
			}
		case len(fieldLocation):
			if bytes.EqualFold(line[:colon], fieldLocation) {
				a.location = bytes.TrimSpace(line[colon+1:])
			}
		}
	}
	return a, nil
}
