package compat

import (
	"path/filepath"
	"time"
)

// Defaults of docker_auth's sign-in pages.
const (
	httpTimeout     = 10 * time.Second
	revalidateAfter = time.Hour
)

// signIns checks the sections of pages where people sign in.
func (t *dockerTranslation) signIns() {
	t.google()
	t.github()
	t.oidc()
	t.gitlab()
}

// google translates the section google_auth.
func (t *dockerTranslation) google() {
	if g := t.from.Google; g != nil {
		t.client("google_auth", &g.dockerClient)
	}
}

// github translates the section github_auth.
func (t *dockerTranslation) github() {
	if g := t.from.GitHub; g != nil {
		t.client("github_auth", &g.dockerClient)
		t.duration("github_auth.revalidate_after", g.RevalidateAfter, revalidateAfter)
	}
}

// gitlab translates the section gitlab_auth.
func (t *dockerTranslation) gitlab() {
	if g := t.from.GitLab; g != nil {
		t.client("gitlab_auth", &g.dockerClient)
		t.duration("gitlab_auth.revalidate_after", g.RevalidateAfter, revalidateAfter)
	}
}

// oidc translates the section oidc_auth.
func (t *dockerTranslation) oidc() {
	o := t.from.OIDC
	if o == nil {
		return
	}
	t.require("oidc_auth.issuer", o.Issuer != "")
	t.require("oidc_auth.redirect_url", o.RedirectURL != "")
	t.client("oidc_auth", &o.dockerClient)
	if o.LabelClaims != nil {
		if o.LabelsClaims != nil {
			t.wrong("oidc_auth.label_claims", "stands beside labels_claims, which means the same; remove one of them")
		}
		t.warn("oidc_auth.label_claims", "docker_auth's documentation has this key and docker_auth ignored it; here it is labels_claims: the claims become labels")
	}
}

// client checks what the sections of all sign-in pages have in common.
func (t *dockerTranslation) client(section string, c *dockerClient) {
	t.require(section+".client_id", c.ClientID != "")
	if c.ClientSecret == "" && c.ClientSecretFile == "" {
		t.wrong(section+".client_secret", "is required; or client_secret_file")
	}
	t.path(section+".client_secret_file", c.ClientSecretFile)
	t.duration(section+".http_timeout", c.HTTPTimeout, httpTimeout)
	switch {
	case c.GCS != nil:
		t.require(section+".gcs_token_db.bucket", c.GCS.Bucket != "")
		t.require(section+".gcs_token_db.client_secret_file", c.GCS.ClientSecretFile != "")
	case c.Redis != nil:
		if c.Redis.Options == nil && c.Redis.Cluster == nil {
			t.wrong(section+".redis_token_db", "wants redis_options or redis_cluster_options")
		}
	case c.Level != nil:
		t.require(section+".level_token_db.path", c.Level.Path != "")
		if t.to.Data == "" && c.Level.Path != "" { // what is to be remembered goes beside what docker_auth remembers
			t.to.Data = filepath.Join(filepath.Dir(t.absolute(c.Level.Path)), "customhouse")
		}
	default:
		t.wrong(section, "has no place for the logins that it makes, which crashed docker_auth; write level_token_db: {path: ...}")
	}
}
