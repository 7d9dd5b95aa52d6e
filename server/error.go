package server

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	"customhouse"
	"customhouse/gate"
)

// statuses is the one table from error codes to HTTP (OCI distribution-spec "Error Codes").
var statuses = map[customhouse.Code]int{
	customhouse.BlobUnknown:          http.StatusNotFound,
	customhouse.BlobUploadInvalid:    http.StatusBadRequest,
	customhouse.BlobUploadUnknown:    http.StatusNotFound,
	customhouse.DigestInvalid:        http.StatusBadRequest,
	customhouse.ManifestBlobUnknown:  http.StatusBadRequest,
	customhouse.ManifestInvalid:      http.StatusBadRequest,
	customhouse.ManifestUnknown:      http.StatusNotFound,
	customhouse.NameInvalid:          http.StatusBadRequest,
	customhouse.NameUnknown:          http.StatusNotFound,
	customhouse.SizeInvalid:          http.StatusBadRequest,
	customhouse.Unauthorized:         http.StatusUnauthorized,
	customhouse.Denied:               http.StatusForbidden,
	customhouse.Unsupported:          http.StatusMethodNotAllowed,
	customhouse.TooManyRequests:      http.StatusTooManyRequests,
	customhouse.TagInvalid:           http.StatusBadRequest,
	customhouse.RangeInvalid:         http.StatusRequestedRangeNotSatisfiable,
	customhouse.PaginationInvalid:    http.StatusBadRequest,
	customhouse.Unavailable:          http.StatusServiceUnavailable,
	customhouse.InsufficientStorage:  http.StatusInsufficientStorage,
	customhouse.ContentTooLarge:      http.StatusRequestEntityTooLarge,
	customhouse.URITooLong:           http.StatusRequestURITooLong,
	customhouse.UnsupportedMediaType: http.StatusUnsupportedMediaType,
	customhouse.BadRequest:           http.StatusBadRequest,
	customhouse.NotFound:             http.StatusNotFound,
	customhouse.Misdirected:          http.StatusMisdirectedRequest,
	customhouse.Unknown:              http.StatusInternalServerError,
}

// wireCodes are the codes that clients see in the place of ours, where the specification has one for the family.
var wireCodes = map[customhouse.Code]customhouse.Code{
	customhouse.ContentTooLarge:      customhouse.SizeInvalid,
	customhouse.InsufficientStorage:  customhouse.Unavailable,
	customhouse.URITooLong:           customhouse.Unsupported,
	customhouse.UnsupportedMediaType: customhouse.Unsupported,
	customhouse.BadRequest:           customhouse.Unsupported,
	customhouse.NotFound:             customhouse.Unsupported,
	customhouse.Misdirected:          customhouse.Unsupported,
}

// errMethod is a method that an endpoint does not have.
type errMethod struct {
	cause *customhouse.Error
	allow []string
}

func (e errMethod) Error() string { return e.cause.Error() }
func (e errMethod) Unwrap() error { return e.cause }

func methodNotAllowed(allow ...string) error {
	return errMethod{customhouse.Errorf(customhouse.Unsupported, "the endpoint does not have this method"), allow}
}

// fail writes err. Only what a *customhouse.Error says reaches the client.
func (st *state) fail(w *response, r *http.Request, err error) {
	var e *customhouse.Error
	if !errors.As(err, &e) {
		e = customhouse.Errorf(customhouse.Unknown, "unknown error; the registry's log says more")
	}
	w.err = err
	if w.status != 0 {
		w.broken = r.Context().Err() == nil && !hungUp(err) // else the client has left, which is its own affair
		panic(http.ErrAbortHandler)                         // the status line is out: only a broken connection can tell the client
	}
	var refusal *gate.Refusal
	if errors.As(err, &refusal) {
		w.decision(refusal.ID, refusal.Identity, refusal.Rule, refusal.Reason)
		if refusal.RetryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int((refusal.RetryAfter+time.Second-1)/time.Second)))
		}
		if refusal.Challenge != nil {
			challenge, hostErr := st.challenge(r, refusal.Challenge)
			if hostErr != nil {
				e = hostErr
			} else {
				w.Header().Set("WWW-Authenticate", challenge)
			}
		}
	}
	var oauth *gate.OAuthError
	if errors.As(err, &oauth) {
		writeOAuthError(w, oauth)
		return
	}
	var method errMethod
	if errors.As(err, &method) {
		w.Header().Set("Allow", strings.Join(method.allow, ", "))
	}
	writeError(w, e)
}

// hungUp tells whether err is of sending to a client that has ended the connection: so it may be known before the context is.
func hungUp(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op != "read" && (errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE))
}

// writeError writes the error envelope of the specification.
func writeError(w http.ResponseWriter, e *customhouse.Error) {
	type entry struct {
		Code    customhouse.Code `json:"code"`
		Message string           `json:"message"`
		Detail  any              `json:"detail,omitempty"`
	}
	status, ok := statuses[e.Code]
	if !ok {
		status = http.StatusInternalServerError
	}
	code := e.Code
	if wire, ok := wireCodes[code]; ok {
		code = wire
	}
	if (status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests) && w.Header().Get("Retry-After") == "" {
		w.Header().Set("Retry-After", "5")
	}
	body, err := json.Marshal(map[string][]entry{"errors": {{code, e.Message, e.Detail}}})
	if err != nil {
		body = []byte(`{"errors":[{"code":"UNKNOWN","message":"unknown error"}]}`)
	}
	w.Header().Set("Cache-Control", "no-store")
	writeBody(w, status, "application/json", body)
}

// writeBody writes a whole answer.
func writeBody(w http.ResponseWriter, status int, contentType string, body []byte) {
	h := w.Header()
	h["Content-Type"] = []string{contentType}
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that has gone is no error of ours
}
