package backend

import (
	"fmt"
	"os/exec"
	"syscall"
	"testing"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// FerretDB is a server of MongoDB's protocol that keeps its data in SQLite, and lets in who proves by SCRAM-SHA-256 that they
// are its one user.
type FerretDB struct {
	*Process
	URI    string // with user and password
	Client *mongo.Client
}

// The user of every FerretDB.
const (
	MongoUser     = "reader"
	MongoPassword = "mongo-secret"
)

// NewFerretDB starts a server without data.
func NewFerretDB(t testing.TB) *FerretDB {
	t.Helper()
	ferretdb := need(t, "ferretdb")
	dir, address := folder(t, nil), fmt.Sprintf("127.0.0.1:%d", port(t))
	args := []string{
		"--handler=sqlite", "--sqlite-url=file:" + dir + "/", "--listen-addr=" + address, "--state-dir=" + dir, "--debug-addr=-", "--telemetry=disable",
		"--log-level=error", "--test-enable-new-auth", "--setup-database=admin", "--setup-username=" + MongoUser, "--setup-password=" + MongoPassword,
	}
	f := &FerretDB{URI: fmt.Sprintf("mongodb://%s:%s@%s/?authSource=admin", MongoUser, MongoPassword, address)}
	f.Process = start(t, func() *exec.Cmd { return command(nil, ferretdb, args...) }, syscall.SIGKILL, listening(address))
	var err error
	if f.Client, err = mongo.Connect(options.Client().ApplyURI(f.URI)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Client.Disconnect(t.Context()) })
	return f
}
