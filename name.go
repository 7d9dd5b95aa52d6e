package customhouse

import "strings"

// Limits of names, in bytes.
const (
	MaxRepoLength = 255 // the registry's own limit, the one that clients enforce on host/name together
	MaxTagLength  = 128 // OCI distribution-spec, "Pulling manifests"
)

// Repo is the name of a repository, such as "library/busybox". The zero Repo is no repository.
type Repo struct{ name string }

// ParseRepo reads a repository name by the grammar of the OCI distribution-spec ("Pulling manifests"): path components
// of lower case letters and digits, with single '.', one or two '_' or any number of '-' between them.
// The error is a NAME_INVALID.
func ParseRepo(s string) (Repo, error) {
	if len(s) > MaxRepoLength {
		return Repo{}, Errorf(NameInvalid, "repository name is %d bytes long, at most %d are allowed", len(s), MaxRepoLength)
	}
	for rest := s; ; {
		component, after, more := strings.Cut(rest, "/")
		if !validComponent(component) {
			return Repo{}, Errorf(NameInvalid, "invalid repository name").WithDetail(map[string]string{"name": s})
		}
		if !more {
			return Repo{name: s}, nil
		}
		rest = after
	}
}

// String returns the name as it was parsed.
func (r Repo) String() string { return r.name }

// IsZero tells whether r is no repository.
func (r Repo) IsZero() bool { return r.name == "" }

// validComponent matches [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*.
func validComponent(s string) bool {
	if s == "" || !isLowerAlnum(s[0]) || !isLowerAlnum(s[len(s)-1]) {
		return false
	}
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case isLowerAlnum(c):
		case c == '.':
			if !isLowerAlnum(s[i-1]) {
				return false
			}
		case c == '_':
			if !isLowerAlnum(s[i-1]) && (s[i-1] != '_' || !isLowerAlnum(s[i-2])) {
				return false
			}
		case c == '-':
			if !isLowerAlnum(s[i-1]) && s[i-1] != '-' {
				return false
			}
		default:
			return false
		}
	}
	return true
}

func isLowerAlnum(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }

// Tag is the name of a tag within a repository. The zero Tag is no tag.
type Tag struct{ name string }

// ParseTag reads a tag: [a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}. The error is a TAG_INVALID.
func ParseTag(s string) (Tag, error) {
	if s == "" || len(s) > MaxTagLength || s[0] == '.' || s[0] == '-' {
		return Tag{}, Errorf(TagInvalid, "invalid tag").WithDetail(map[string]string{"tag": s})
	}
	for i := range len(s) {
		c := s[i]
		if !isLowerAlnum(c) && (c < 'A' || c > 'Z') && c != '_' && c != '.' && c != '-' {
			return Tag{}, Errorf(TagInvalid, "invalid tag").WithDetail(map[string]string{"tag": s})
		}
	}
	return Tag{name: s}, nil
}

// String returns the tag as it was parsed.
func (t Tag) String() string { return t.name }

// IsZero tells whether t is no tag.
func (t Tag) IsZero() bool { return t.name == "" }

// Ref names a manifest within a repository: by tag or by digest, exactly one of which is set.
type Ref struct {
	Tag    Tag
	Digest Digest
}

// ParseRef reads a reference: a digest if it has a ':', else a tag.
// The error is a DIGEST_INVALID or a TAG_INVALID.
func ParseRef(s string) (Ref, error) {
	if strings.Contains(s, ":") {
		d, err := ParseDigest(s)
		return Ref{Digest: d}, err
	}
	t, err := ParseTag(s)
	return Ref{Tag: t}, err
}

// String returns the reference as it stands in a URL.
func (r Ref) String() string {
	if r.Digest.IsZero() {
		return r.Tag.String()
	}
	return r.Digest.String()
}
