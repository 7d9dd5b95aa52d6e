package program

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"

	"customhouse"
	"customhouse/outbound"
)

// WebhookOptions are the settings of a Webhook.
type WebhookOptions struct {
	Timeout       time.Duration      // of a question, with all its attempts; 0 is DefaultTimeout
	Retries       int                // further attempts after one that failed; negative is none
	Secret        customhouse.Secret // signs questions; "" leaves them without a signature
	Authorization customhouse.Secret // the header Authorization; "" is none
	Certificate   string             // a PEM file to show to the server, with Key; "" shows none
	Key           string
	CA            string         // a PEM file with whom to trust; "" trusts whom the system trusts
	Plaintext     bool           // let passwords cross a network without TLS
	Allow         []netip.Prefix // addresses that are not reached otherwise; see outbound.Dialer
	Now           func() time.Time
	Log           *slog.Logger // nil is silent
}

const (
	connections   = 64 // to the server
	firstRetry    = 50 * time.Millisecond
	tripAfter     = 5 // questions in a row that failed
	tripFor       = 5 * time.Second
	maxRetries    = 10
	maxErrorDrain = 64 << 10 // bytes that are read of an answer that is not used, so that its connection is
)

// Webhook asks a URL. It follows no redirect and uses no proxy: what it sends is for that host alone.
type Webhook struct {
	url     string
	o       WebhookOptions
	client  *http.Client
	breaker *gobreaker.CircuitBreaker[Answer]

	life   context.Context
	end    context.CancelFunc
	mu     sync.Mutex // held while asking grows or life ends
	asking sync.WaitGroup
}

var _ Asker = (*Webhook)(nil)

// NewWebhook returns an asker of the program behind target, an http or https URL. It opens no connection.
func NewWebhook(target string, o WebhookOptions) (*Webhook, error) {
	u, err := url.Parse(target)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("want a URL, such as https://auth.example.com/customhouse")
	case u.User != nil || u.Fragment != "":
		return nil, errors.New("the URL holds a name, a password or a fragment; a secret goes into authorization")
	case u.Scheme == "http" && !o.Plaintext && !isLoopback(u.Hostname()):
		return nil, errors.New("passwords would cross the network readable; use https, or allow plaintext where the network is yours")
	}
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	o.Retries = min(max(o.Retries, 0), maxRetries)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	config, err := tlsConfig(&o)
	if err != nil {
		return nil, err
	}
	dialer := outbound.NewDialer(outbound.Options{Timeout: o.Timeout, Private: true, Allow: o.Allow})
	w := &Webhook{url: u.String(), o: o}
	w.client = &http.Client{
		Transport: outbound.NoUpgrade{Transport: &http.Transport{
			DialContext: dialer.DialContext, TLSClientConfig: config, TLSHandshakeTimeout: o.Timeout,
			MaxConnsPerHost: connections, MaxIdleConnsPerHost: connections, IdleConnTimeout: 90 * time.Second,
			MaxResponseHeaderBytes: 64 << 10, DisableCompression: true,
		}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	w.breaker = gobreaker.NewCircuitBreaker[Answer](gobreaker.Settings{
		Timeout:      tripFor,
		ReadyToTrip:  func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= tripAfter },
		IsExcluded:   func(err error) bool { return errors.Is(err, context.Canceled) }, // the client has left
		IsSuccessful: func(err error) bool { return err == nil || errors.Is(err, errCannotTell) },
		OnStateChange: func(_ string, _, to gobreaker.State) {
			o.Log.Warn("the state of a webhook changes", "host", u.Host, "circuit", to.String())
		},
	})
	w.life, w.end = context.WithCancel(context.Background())
	return w, nil
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// tlsConfig reads the files that o names.
func tlsConfig(o *WebhookOptions) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.Certificate != "" || o.Key != "" {
		pair, err := tls.LoadX509KeyPair(o.Certificate, o.Key)
		if err != nil {
			return nil, fmt.Errorf("load the client certificate %s: %w", o.Certificate, err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	if o.CA != "" {
		text, err := os.ReadFile(o.CA)
		if err != nil {
			return nil, err
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s: no certificate in it", o.CA)
		}
	}
	return c, nil
}

// Close ends the questions under way and the connections.
func (w *Webhook) Close() error {
	w.mu.Lock()
	w.end()
	w.mu.Unlock()
	w.asking.Wait()
	w.client.CloseIdleConnections()
	return nil
}

// Ask implements Asker. When questions keep failing, further ones fail at once for a few seconds.
func (w *Webhook) Ask(ctx context.Context, q Question) (Answer, error) {
	body, err := encode(&q, 0)
	if err != nil {
		return Answer{Result: Deny, Reason: err.Error()}, nil
	}
	w.mu.Lock()
	if w.life.Err() != nil {
		w.mu.Unlock()
		return Answer{}, ErrClosed
	}
	w.asking.Add(1)
	w.mu.Unlock()
	defer w.asking.Done()
	ctx, cancel := context.WithTimeoutCause(ctx, w.o.Timeout, ErrTimeout)
	defer cancel()
	defer context.AfterFunc(w.life, cancel)()
	answer, err := w.breaker.Execute(func() (Answer, error) { return w.insist(ctx, &q, body) })
	switch {
	case errors.Is(err, gobreaker.ErrOpenState), errors.Is(err, gobreaker.ErrTooManyRequests):
		return Answer{}, errors.New("the webhook has failed too often and is not asked for some seconds")
	case err != nil && w.life.Err() != nil:
		return Answer{}, ErrClosed
	}
	return answer, err
}

// retryable is a failure that another attempt may not meet.
type retryable struct{ error }

func (r retryable) Unwrap() error { return r.error }

// insist posts body until there is an answer. To ask again is no harm: a question changes nothing.
func (w *Webhook) insist(ctx context.Context, q *Question, body []byte) (Answer, error) {
	pause := firstRetry
	for try := 0; ; try++ {
		answer, err := w.post(ctx, q, body)
		switch {
		case err == nil:
			return answer, nil
		case ctx.Err() != nil:
			return Answer{}, context.Cause(ctx)
		case try == w.o.Retries || !errors.As(err, new(retryable)):
			return Answer{}, err
		}
		select {
		case <-ctx.Done():
			return Answer{}, context.Cause(ctx)
		case <-time.After(pause/2 + rand.N(pause)):
		}
		pause *= 2
	}
}

// post asks once.
func (w *Webhook) post(ctx context.Context, q *Question, body []byte) (Answer, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(body))
	if err != nil {
		return Answer{}, err
	}
	r.Header["Content-Type"] = []string{"application/json"}
	r.Header["Accept"] = r.Header["Content-Type"]
	r.Header["User-Agent"] = []string{"customhouse"}
	if w.o.Authorization != "" {
		r.Header["Authorization"] = []string{string(w.o.Authorization)}
	}
	if w.o.Secret != "" {
		r.Header[outbound.SignatureHeader] = []string{outbound.Sign(w.o.Secret, w.o.Now(), body)}
	}
	resp, err := w.client.Do(r)
	if err != nil {
		return Answer{}, unreachable(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		_, _ = io.CopyN(io.Discard, resp.Body, maxErrorDrain)
		err := fmt.Errorf("the webhook answers with status %d", resp.StatusCode)
		switch resp.StatusCode {
		case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return Answer{}, retryable{err}
		}
		return Answer{}, err
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return Answer{}, retryable{errors.New("the webhook breaks off its answer")}
	case len(text) > maxAnswer:
		return Answer{}, fmt.Errorf("the webhook's answer is longer than %d bytes", maxAnswer)
	}
	answer, _, err := decode(text, q)
	return answer, err
}

// unreachable says why a server did not answer, without the URL, which may hold a secret.
func unreachable(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	err = fmt.Errorf("the webhook does not answer: %w", err)
	var forbidden *outbound.ForbiddenError
	var certificate *tls.CertificateVerificationError
	var dns *net.DNSError
	if errors.As(err, &forbidden) || errors.As(err, &certificate) || errors.As(err, &dns) && dns.IsNotFound {
		return err
	}
	return retryable{err}
}
