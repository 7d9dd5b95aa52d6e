package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"

	"customhouse/config"
)

// listen opens the address of a configuration, which is one of the network or a socket in the file system. Where a
// service manager hands over a socket, that is the address.
func listen(ctx context.Context, c *config.Config) (net.Listener, error) {
	if l, err := handedOver(os.Getenv); l != nil || err != nil {
		return l, err
	}
	path := c.Socket()
	if path == "" {
		return (&net.ListenConfig{Control: dropStalled}).Listen(ctx, "tcp", c.Listen)
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o666); err != nil { // its folder decides who can connect
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// handedOver returns the socket that whoever started the process hands over to it, nil if there is none
// (sd_listen_fds(3)).
func handedOver(getenv func(string) string) (net.Listener, error) {
	if getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	if n := getenv("LISTEN_FDS"); n != "1" {
		return nil, fmt.Errorf("%s sockets are handed over (LISTEN_FDS); one is wanted", n)
	}
	const first = 3
	f := os.NewFile(first, "socket of the service manager")
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("the socket that is handed over: %w", err)
	}
	return l, nil
}

// removeStale removes a socket that nobody listens on any more, and nothing else.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s is there and is no socket", path)
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		conn.Close()
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("somebody listens on %s already", path)
	}
	return os.Remove(path)
}

// stalledTime is how long a client may take nothing of what is sent to it.
const stalledTime = time.Minute

// dropStalled makes the kernel end connections whose client takes nothing: sendfile does not come back to tell of
// progress (tcp(7), TCP_USER_TIMEOUT). Connections inherit it from the listener.
func dropStalled(_, _ string, c syscall.RawConn) error {
	var err error
	return errors.Join(c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(stalledTime.Milliseconds()))
	}), err)
}

// encryption is how connections are encrypted: everything that a reload exchanges.
type encryption struct {
	section config.TLS
	config  *tls.Config
	manager *autocert.Manager // nil: the certificate is a file
}

// renewBefore is a third of the shortest life that certificates of public authorities are about to have.
const renewBefore = 15 * 24 * time.Hour

// newEncryption returns the encryption of a section, nil for none. What the one before has got by ACME is kept as long as
// that section stays the same.
func newEncryption(t config.TLS, http2 bool, before *encryption, log *slog.Logger) (*encryption, error) {
	if !t.Enabled() {
		return nil, nil
	}
	e := &encryption{section: t, config: &tls.Config{
		MinVersion: t.MinVersion(), CipherSuites: t.CipherSuiteIDs(), CurvePreferences: t.CurveIDs(), NextProtos: []string{"http/1.1"},
	}}
	if http2 {
		e.config.NextProtos = []string{"h2", "http/1.1"}
	}
	e.config.ClientAuth = t.ClientAuthType()
	var err error
	if e.config.ClientCAs, err = clientCAs(t); err != nil {
		return nil, err
	}
	if !t.ACME.Enabled() {
		pair, err := tls.LoadX509KeyPair(t.Certificate, t.Key)
		if err != nil {
			return nil, fmt.Errorf("load the certificate %s with the key %s: %w", t.Certificate, t.Key, err)
		}
		if now := time.Now(); now.After(pair.Leaf.NotAfter) {
			log.Warn("the certificate has expired; clients will refuse it", "file", t.Certificate, "expired", pair.Leaf.NotAfter)
		}
		e.config.Certificates = []tls.Certificate{pair}
		return e, nil
	}
	if before != nil && before.manager != nil && reflect.DeepEqual(before.section.ACME, t.ACME) {
		e.manager = before.manager
	} else {
		var err error
		if e.manager, err = newManager(t.ACME); err != nil {
			return nil, err
		}
	}
	e.config.GetCertificate = e.certificate(log)
	e.config.NextProtos = append(e.config.NextProtos, acme.ALPNProto) // by which the authority sees that the host is ours
	return e, nil
}

// certificate returns what finds the certificate for a connection, and tells now and then why there is none for a host of
// ours: the client hears of an internal error at most.
func (e *encryption) certificate(log *slog.Logger) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	sometimes := rate.Sometimes{Interval: time.Minute}
	return func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		found, err := e.manager.GetCertificate(hello)
		if err != nil && slices.ContainsFunc(e.section.ACME.Hosts, func(host string) bool { return strings.EqualFold(host, hello.ServerName) }) {
			sometimes.Do(func() {
				log.Error("no certificate could be got; connections fail", "host", hello.ServerName, "error", err)
			})
		}
		return found, err
	}
}

// clientCAs returns the authorities whose certificates clients may show, nil for none.
func clientCAs(t config.TLS) (*x509.CertPool, error) {
	if len(t.ClientCAs) == 0 {
		return nil, nil
	}
	pool, err := readCAs(t.ClientCAs...)
	if err != nil {
		return nil, fmt.Errorf("tls.client_cas: %w", err)
	}
	return pool, nil
}

// readCAs returns the authorities in PEM files.
func readCAs(files ...string) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	for _, file := range files {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: no certificate in it", file)
		}
	}
	return pool, nil
}

// newManager returns who gets certificates by ACME.
func newManager(a config.ACME) (*autocert.Manager, error) {
	if err := makeFolder(a.Cache); err != nil {
		return nil, fmt.Errorf("the folder for certificates (tls.acme.cache): %w", err)
	}
	m := &autocert.Manager{
		Prompt: autocert.AcceptTOS, Cache: autocert.DirCache(a.Cache), HostPolicy: autocert.HostWhitelist(a.Hosts...),
		Email: a.Email, RenewBefore: renewBefore, Client: &acme.Client{DirectoryURL: a.Directory},
	}
	if a.CA != "" {
		roots, err := readCAs(a.CA)
		if err != nil {
			return nil, fmt.Errorf("tls.acme.ca: %w", err)
		}
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.TLSClientConfig = &tls.Config{RootCAs: roots}
		m.Client.HTTPClient = &http.Client{Transport: transport}
	}
	return m, nil
}
