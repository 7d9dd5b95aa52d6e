package config

import "time"

// Machines is the section auth.machines.
type Machines struct {
	// Whether robots may log in.
	Robots bool `yaml:"robots"`

	// Whether personal access tokens are good as passwords.
	Tokens bool `yaml:"tokens"`

	// The lifetime of a secret for which none is asked.
	Expiration time.Duration `yaml:"expiration"`

	// The longest lifetime that can be asked for. 0 is for ever.
	MaxExpiration time.Duration `yaml:"max_expiration"`

	// How many personal access tokens an account may have.
	PerAccount int `yaml:"per_account"`
}

func defaultMachines() Machines {
	return Machines{Robots: true, Tokens: true, Expiration: 90 * 24 * time.Hour, MaxExpiration: 365 * 24 * time.Hour, PerAccount: 50}
}

func (c *Config) checkMachines(p *problems) {
	m := c.Auth.Machines
	p.check(m.Expiration >= time.Minute, "auth.machines.expiration", "want at least 1m")
	p.check(m.MaxExpiration == 0 || m.MaxExpiration >= m.Expiration, "auth.machines.max_expiration", "want 0 or at least auth.machines.expiration")
	p.check(m.PerAccount >= 1 && m.PerAccount <= 1000, "auth.machines.per_account", "want 1 to 1000")
}
