package server

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"customhouse"
)

// Metrics counts requests by family, method and status, under the names that distribution has for them, so that its
// dashboards go on working. No label has a value that a client can choose: the number of series is bounded.
type Metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	inFlight prometheus.Gauge
	seconds  [opCount]prometheus.Observer
	sent     prometheus.Counter

	decisions map[string]prometheus.Counter // by outcome
	logins    *prometheus.CounterVec
	tokens    prometheus.Counter
	failures  *prometheus.CounterVec // by program
	excessive prometheus.Counter

	codes [600]string // statuses as text, so that counting does not allocate
}

// NewMetrics returns metrics that count from zero; version is what the build is called.
func NewMetrics(version string) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "registry_http_requests_total", Help: "Requests answered, by family, method and status.",
		}, []string{"handler", "method", "code"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "registry_http_in_flight_requests", Help: "Requests under way.",
		}),
		sent: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "registry_http_sent_bytes_total", Help: "Bytes of bodies sent to clients.",
		}),
	}
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "registry_http_request_duration_seconds", Help: "How long requests took, by family.",
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 60},
	}, []string{"handler"})
	for op := range opCount {
		m.seconds[op] = seconds.WithLabelValues(family(op))
	}
	for code := range m.codes {
		m.codes[code] = strconv.Itoa(code)
	}
	decisions := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "customhouse_decisions_total", Help: "Requests that the gate has let through or refused, by outcome.",
	}, []string{"outcome"})
	m.logins = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "customhouse_logins_total", Help: "Logins that a source of accounts was asked about, by method and outcome.",
	}, []string{"method", "outcome"})
	m.failures = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "customhouse_program_failures_total", Help: "Questions that a program of yours did not answer, by the key of the program.",
	}, []string{"program"})
	m.excessive = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "customhouse_excessive_decisions_total", Help: "Decisions that were no because too many combinations of label values would have had to be tried.",
	})
	m.tokens = prometheus.NewCounter(prometheus.CounterOpts{Name: "customhouse_tokens_total", Help: "Tokens issued."})
	m.decisions = map[string]prometheus.Counter{}
	for _, outcome := range outcomes {
		m.decisions[outcome] = decisions.WithLabelValues(outcome)
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "customhouse_build_info", Help: "1, with the version of the program.", ConstLabels: prometheus.Labels{"version": version},
	})
	build.Set(1)
	m.registry.MustRegister(m.requests, m.inFlight, m.sent, seconds, build, decisions, m.logins, m.tokens, m.failures, m.excessive,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Gauge adds a number that is asked for whenever somebody reads the metrics, such as the age of something.
func (m *Metrics) Gauge(name, help string, read func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, read))
}

// Counter adds a number that only grows, and is asked for whenever somebody reads the metrics.
func (m *Metrics) Counter(name, help string, read func() float64) {
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, read))
}

// Decided counts a decision, a login or a token of the gate.
func (m *Metrics) Decided(e *customhouse.AuditEntry) {
	switch outcome := outcomes[e.Allowed]; e.Kind {
	case customhouse.AuditDecision:
		m.decisions[outcome].Inc()
	case customhouse.AuditLogin:
		m.logins.WithLabelValues(e.Method, outcome).Inc() // methods are names of ours
	case customhouse.AuditToken:
		m.tokens.Inc()
	}
}

// Excessive counts a decision that was no because there was too much to try.
func (m *Metrics) Excessive() { m.excessive.Inc() }

// ProgramFailed counts a question that a program did not answer.
func (m *Metrics) ProgramFailed(program string) { m.failures.WithLabelValues(program).Inc() } // a name of ours

var outcomes = map[bool]string{true: "allowed", false: "denied"}

// Handler answers with the metrics in the format of Prometheus.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// begin counts a request that is under way until the function that it returns is called.
func (m *Metrics) begin() (end func(op operation, method string, status int, sent int64, took time.Duration)) {
	if m == nil {
		return func(operation, string, int, int64, time.Duration) {}
	}
	m.inFlight.Inc()
	return m.end
}

func (m *Metrics) end(op operation, method string, status int, sent int64, took time.Duration) {
	m.inFlight.Dec()
	m.requests.WithLabelValues(family(op), knownMethod(method), m.codes[max(0, min(status, len(m.codes)-1))]).Inc()
	m.seconds[op].Observe(took.Seconds())
	m.sent.Add(float64(sent))
}

// family is an operation's value of the label handler.
func family(op operation) string {
	if name := routes[op].handler; name != "" {
		return name
	}
	return "other"
}

// knownMethod is a method's value of the label method.
func knownMethod(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPost, http.MethodPatch, http.MethodDelete:
		return method
	}
	return "other"
}
