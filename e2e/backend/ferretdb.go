package backend

import (
	"fmt"
	"os/exec"
	"syscall"
	"testing"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// FerretDB is a server of MongoDB's protocol, without accounts of its own.
type FerretDB struct {
	*Process
	URI    string
	Client *mongo.Client
}

// NewFerretDB starts the program of e2e/ferretdb.
func NewFerretDB(t testing.TB) *FerretDB {
	t.Helper()
	ferretdb := need(t, "ferretdb")
	dir, address := folder(t, nil), fmt.Sprintf("127.0.0.1:%d", port(t))
	f := &FerretDB{URI: "mongodb://" + address + "/"}
	f.Process = start(t, func() *exec.Cmd { return command(nil, ferretdb, address, dir) }, syscall.SIGKILL, listening(address))
	var err error
	if f.Client, err = mongo.Connect(options.Client().ApplyURI(f.URI)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Client.Disconnect(t.Context()) })
	return f
}
