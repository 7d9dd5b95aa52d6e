package customhouse

import (
	"errors"
	"fmt"
)

// ErrNotFound says that what was asked for by name is not there, where only the caller knows what that means.
var ErrNotFound = errors.New("not found")

// Code is an error code that clients know.
type Code string

// The codes of the OCI distribution-spec ("Error Codes") and those that Docker's registry added and clients know.
const (
	BlobUnknown          Code = "BLOB_UNKNOWN"
	BlobUploadInvalid    Code = "BLOB_UPLOAD_INVALID"
	BlobUploadUnknown    Code = "BLOB_UPLOAD_UNKNOWN"
	DigestInvalid        Code = "DIGEST_INVALID"
	ManifestBlobUnknown  Code = "MANIFEST_BLOB_UNKNOWN"
	ManifestInvalid      Code = "MANIFEST_INVALID"
	ManifestUnknown      Code = "MANIFEST_UNKNOWN"
	NameInvalid          Code = "NAME_INVALID"
	NameUnknown          Code = "NAME_UNKNOWN"
	SizeInvalid          Code = "SIZE_INVALID"
	Unauthorized         Code = "UNAUTHORIZED"
	Denied               Code = "DENIED"
	Unsupported          Code = "UNSUPPORTED"
	TooManyRequests      Code = "TOOMANYREQUESTS"
	TagInvalid           Code = "TAG_INVALID"
	RangeInvalid         Code = "RANGE_INVALID"
	PaginationInvalid    Code = "PAGINATION_NUMBER_INVALID"
	Unavailable          Code = "UNAVAILABLE"
	Unknown              Code = "UNKNOWN"
	InsufficientStorage  Code = "INSUFFICIENT_STORAGE"
	ContentTooLarge      Code = "CONTENT_TOO_LARGE"
	URITooLong           Code = "URI_TOO_LONG"
	UnsupportedMediaType Code = "UNSUPPORTED_MEDIA_TYPE"
	BadRequest           Code = "BAD_REQUEST"
	NotFound             Code = "NOT_FOUND"
	Misdirected          Code = "MISDIRECTED"
)

// Error is an error that the client may read: its code, message and detail carry no path, no query and no secret.
// Every other error is logged, and the client sees UNKNOWN.
type Error struct {
	Code    Code
	Message string // one sentence, lower case
	Detail  any    // what was wrong, marshalled as JSON; nil for nothing
	Cause   error  // for the log only; nil for nothing
}

// Errorf returns an *Error with a formatted message.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// WithDetail returns a copy of e that carries detail.
func (e *Error) WithDetail(detail any) *Error {
	c := *e
	c.Detail = detail
	return &c
}

// WithCause returns a copy of e that carries cause, for the log.
func (e *Error) WithCause(cause error) *Error {
	c := *e
	c.Cause = cause
	return &c
}

// Error returns code and message, and the cause if there is one.
func (e *Error) Error() string {
	if e.Cause != nil {
		return fmt.Sprintf("%s: %s: %v", e.Code, e.Message, e.Cause)
	}
	return fmt.Sprintf("%s: %s", e.Code, e.Message)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Is tells whether target is an *Error of the same code, so that errors.Is(err, ErrBlobUnknown) asks for a kind.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}
