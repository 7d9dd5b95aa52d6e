package authn

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/opt"
	"github.com/syndtr/goleveldb/leveldb/util"

	"customhouse"
)

const recordPrefix = "t:" // of keys, before the account

// ReadDockerAuth returns who has signed in at a provider by docker_auth, from the LevelDB database in a folder
// (level_token_db). Their passwords, which docker_auth kept as bcrypt hashes, are named docker_auth, and the provider's
// tokens are sealed. The database is not changed, and must not be open elsewhere.
func (b *Browser) ReadDockerAuth(folder string) ([]customhouse.ImportedSignIn, error) {
	db, err := leveldb.OpenFile(folder, &opt.Options{ReadOnly: true, ErrorIfMissing: true})
	if err != nil {
		return nil, fmt.Errorf("open docker_auth's database %s: %w", folder, err)
	}
	defer db.Close()
	records := map[string][]byte{}
	found := db.NewIterator(util.BytesPrefix([]byte(recordPrefix)), nil)
	defer found.Release()
	for found.Next() {
		records[strings.TrimPrefix(string(found.Key()), recordPrefix)] = bytes.Clone(found.Value())
	}
	if err := found.Error(); err != nil {
		return nil, fmt.Errorf("read docker_auth's database %s: %w", folder, err)
	}
	return b.importRecords(records, slog.String("folder", folder)), nil
}

// importRecords reads records of docker_auth's by account, and logs those that it leaves out with where they are.
func (b *Browser) importRecords(records map[string][]byte, where slog.Attr) (all []customhouse.ImportedSignIn) {
	for _, account := range slices.Sorted(maps.Keys(records)) {
		i, err := b.importRecord(account, records[account])
		if err != nil {
			b.log.Warn("a sign-in of docker_auth is left out", where, slog.String("account", account), slog.Any("reason", err))
			continue
		}
		all = append(all, i)
	}
	return all
}

// importRecord reads the value of a record of docker_auth's. The error quotes nothing of it.
func (b *Browser) importRecord(account string, value []byte) (i customhouse.ImportedSignIn, err error) {
	var r struct {
		Access     string              `json:"access_token"`
		Refresh    string              `json:"refresh_token"`
		ValidUntil time.Time           `json:"valid_until"`
		Password   string              `json:"docker_password"`
		Labels     map[string][]string `json:"labels"`
	}
	if err := json.Unmarshal(value, &r); err != nil {
		return i, errors.New("not understood")
	}
	if _, err := customhouse.ParseAccount(account); err != nil {
		return i, errors.New("no name of an account")
	}
	if _, err := ParseHash(customhouse.Secret(r.Password)); err != nil {
		return i, err
	}
	t := Tokens{Access: r.Access, Refresh: r.Refresh}
	if r.Refresh != "" { // else the time says when docker_auth would have asked again, not how long the token is good
		t.Expires = r.ValidUntil
	}
	tokens, err := json.Marshal(t)
	if err != nil {
		return i, err
	}
	now := b.now()
	s := customhouse.SignIn{Provider: b.Name(), Issuer: b.Issuer(), Account: account, Labels: r.Labels, Created: now, Due: r.ValidUntil}
	if s.Due.IsZero() {
		s.Due = now
	}
	s.Tokens = b.seal.Seal(tokens, b.about(&s))
	return customhouse.ImportedSignIn{SignIn: s, Password: customhouse.AppPassword{
		ID: rand.Text()[:16], Name: "docker_auth", Hash: customhouse.Secret(r.Password), Created: now,
	}}, nil
}
