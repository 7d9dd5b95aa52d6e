package compat

// unserved refuses what is not translated yet: nothing is ignored.
func (t *dockerTranslation) unserved() {
	f := &t.from
	for _, section := range []struct {
		key string
		has bool
	}{
		{"google_auth", f.Google != nil}, {"github_auth", f.GitHub != nil}, {"oidc_auth", f.OIDC != nil}, {"gitlab_auth", f.GitLab != nil},
		{"ldap_auth", f.LDAP != nil}, {"mongo_auth", f.Mongo != nil}, {"xorm_auth", f.XORM != nil},
		{"acl_mongo", f.ACLMongo != nil}, {"acl_xorm", f.ACLXORM != nil},
	} {
		if section.has {
			t.wrong(section.key, "is not served by this version")
		}
	}
}
