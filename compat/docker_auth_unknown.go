package compat

import "strings"

// unknownDockerKey says what is wrong with a key that docker_auth ignores, where there is more to say than which keys
// there are.
func unknownDockerKey(section, name, near string) string {
	switch {
	case section == "" && name == "casbin":
		near = "casbin_authz"
	case section == "" && name == "xorm_authz":
		near = "acl_xorm"
	case name == "token_db":
		return "a key of old: docker_auth crashed at the start; write level_token_db: {path: ...}"
	case strings.HasPrefix(section, "acl[") && strings.HasSuffix(section, ".match"):
		if near == "" {
			return "unknown key, which docker_auth ignored: the rule held for everybody; to match a label write labels: {" + name + ": ...}"
		}
		return "unknown key, which docker_auth ignored: the rule held for everybody; did you mean " + near + "?"
	}
	if near != "" {
		return "unknown key, which docker_auth ignored; did you mean " + near + "?"
	}
	return ""
}
