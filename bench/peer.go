package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// peer is a registry that can be started.
type peer interface {
	// command returns what serves addr with the data in dir, which may hold those of an earlier run, and how requests
	// are authorized: with tokens, or not at all.
	command(dir, addr string, tokens bool) (*exec.Cmd, authorizer, error)
}

var (
	_ peer = customhousePeer{}
	_ peer = (*dockerPeer)(nil)
	_ peer = limitPeer{}
)

// Names of the peers, as -only takes them.
const (
	nameCustomhouse = "customhouse"
	nameDocker      = "docker-registry"
	nameLimit       = "limit"
)

// customhousePeer is the registry of this repository. With tokens it runs the configuration of an example, whose
// account writer may do everything under bench/.
type customhousePeer struct{ binary, example string }

func (p customhousePeer) command(dir, addr string, tokens bool) (*exec.Cmd, authorizer, error) {
	config := p.example
	var auth authorizer = &tokenEndpoint{addr: addr, user: "writer", password: "writer-secret"}
	if !tokens {
		auth = nobody{}
		config = filepath.Join(dir, "customhouse.yml")
		if err := os.WriteFile(config, []byte("auth: {off: true}\n"), 0o600); err != nil {
			return nil, nil, err
		}
	}
	return exec.Command(p.binary, "serve", "-c", config, "--listen", addr, "--data", filepath.Join(dir, "data")), auth, nil
}

// dockerPeer is Debian's docker-registry, which is CNCF distribution 2.8, with the settings of its documentation: the
// file system, descriptors cached in memory; its logs at level error cost it nothing here.
type dockerPeer struct {
	binary string
	signer *signer // made when first needed
}

const dockerConfig = `version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: %[1]q}
  cache: {blobdescriptor: inmemory}
http: {addr: %[2]q, secret: bench}
`

const dockerAuth = `auth: {token: {realm: "http://%[2]s/token", service: %[3]q, issuer: %[4]q, rootcertbundle: %[5]q}}
`

func (p *dockerPeer) command(dir, addr string, tokens bool) (*exec.Cmd, authorizer, error) {
	config, certificate := filepath.Join(dir, "config.yml"), filepath.Join(dir, "certificate.pem")
	text := dockerConfig
	var auth authorizer = nobody{}
	if tokens {
		if p.signer == nil {
			var err error
			if p.signer, err = newSigner(); err != nil {
				return nil, nil, err
			}
		}
		if err := p.signer.writeCertificate(certificate); err != nil {
			return nil, nil, err
		}
		text += dockerAuth
		auth = p.signer
	}
	text = fmt.Sprintf(text, filepath.Join(dir, "data"), addr, service, issuer, certificate)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, nil, err
	}
	return exec.Command(p.binary, "serve", config), auth, nil
}

// limitPeer is this program as the limit server.
type limitPeer struct{ binary string }

func (p limitPeer) command(dir, addr string, tokens bool) (*exec.Cmd, authorizer, error) {
	return exec.Command(p.binary, "-limit-server", addr, "-dir", dir), nobody{}, nil
}
