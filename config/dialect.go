package config

import "customhouse/policy"

// Values of dialect.
const (
	DialectNative     = "native"
	DialectDockerAuth = "docker_auth"
)

// Values of denials.
const (
	DenialsReason  = "reason"
	DenialsMessage = "message"
	DenialsID      = "id"
)

// Compile makes a policy of rules, which are read in the dialect of c. The error is policy.Errors.
func (c *Config) Compile(rules []policy.Rule) (*policy.Policy, error) {
	if c.Dialect == DialectDockerAuth {
		return policy.CompileDockerAuth(rules, policy.DockerAuthOptions{RawPlaceholders: c.CompatRawPlaceholders})
	}
	return policy.Compile(rules, policy.Options{Sets: c.Sets})
}
