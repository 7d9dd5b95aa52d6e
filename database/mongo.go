package database

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"customhouse"
)

// MongoOptions are the settings of a MongoDB database.
type MongoOptions struct {
	// URI is where it is, such as mongodb://USER@HOST:27017/?authSource=admin&replicaSet=rs0. One without a user asks
	// without an account.
	URI customhouse.Secret

	Password   customhouse.Secret // of the user in URI; "" is the one in URI
	TLS        bool               // encrypts whatever URI says
	Database   string
	Collection string

	Timeout     time.Duration // of one question; 0 is 5 seconds
	Connections int           // at most; 0 is 8
}

// Mongo is a collection of a MongoDB database: of docker_auth's documents for users or for rules.
type Mongo struct {
	client     *mongo.Client
	collection *mongo.Collection
	timeout    time.Duration
}

// mongoSettings returns o as the driver has them.
func mongoSettings(o MongoOptions) (*options.ClientOptions, error) {
	wrong := errors.New("not a URI of MongoDB, such as mongodb://USER:PASSWORD@HOST:27017/?authSource=admin")
	uri := string(o.URI)
	if o.Password != "" {
		u, err := url.Parse(uri)
		if err != nil {
			return nil, wrong
		}
		if u.User == nil || u.User.Username() == "" {
			return nil, errors.New("a password, and no user in the URI of MongoDB whose it is")
		}
		u.User = url.UserPassword(u.User.Username(), string(o.Password))
		uri = u.String()
	}
	settings := options.Client().ApplyURI(uri)
	if settings.Validate() != nil { // its error may repeat the URI
		return nil, wrong
	}
	if o.TLS && settings.TLSConfig == nil {
		settings.SetTLSConfig(&tls.Config{MinVersion: tls.VersionTLS12})
	}
	return settings, nil
}

// OpenMongo opens a collection. The error is a mistake in the options.
func OpenMongo(o MongoOptions) (*Mongo, error) {
	settings, err := mongoSettings(o)
	if err != nil {
		return nil, err
	}
	if o.Database == "" || o.Collection == "" {
		return nil, errors.New("want a database and a collection of MongoDB")
	}
	timeout := cmp.Or(o.Timeout, defaultTimeout)
	settings.SetTimeout(timeout).SetServerSelectionTimeout(timeout).SetConnectTimeout(timeout)
	settings.SetMaxPoolSize(uint64(cmp.Or(o.Connections, defaultConnections))).SetAppName("customhouse")
	client, err := mongo.Connect(settings)
	if err != nil {
		return nil, errors.New("the settings of MongoDB are not taken by its driver")
	}
	return &Mongo{client: client, collection: client.Database(o.Database).Collection(o.Collection), timeout: timeout}, nil
}

// Close ends the connections.
func (m *Mongo) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), m.timeout)
	defer cancel()
	return m.client.Disconnect(ctx)
}

// Account returns the account of that name. The error is customhouse.ErrNotFound when there is none.
func (m *Mongo) Account(ctx context.Context, name string) (customhouse.Account, error) {
	ctx, cancel := context.WithTimeout(ctx, m.timeout)
	defer cancel()
	cursor, err := m.collection.Find(ctx, bson.D{{Key: "username", Value: name}}, options.Find().SetLimit(2))
	if err != nil {
		return customhouse.Account{}, fmt.Errorf("ask for an account: %w", err)
	}
	var found []struct {
		Username string
		Password string
		Labels   map[string][]string
	}
	if err := cursor.All(ctx, &found); err != nil {
		return customhouse.Account{}, fmt.Errorf("account %q: %w", name, err)
	}
	switch len(found) {
	case 0:
		return customhouse.Account{}, fmt.Errorf("account %q: %w", name, customhouse.ErrNotFound)
	case 1:
	default:
		return customhouse.Account{}, fmt.Errorf("account %q: several documents have this username", name)
	}
	a := customhouse.Account{Name: found[0].Username, Password: customhouse.Secret(found[0].Password)}
	if len(found[0].Labels) > 0 {
		a.Labels = found[0].Labels
	}
	return a, nil
}

// Rules returns docker_auth's documents for rules, in the order of seq.
func (m *Mongo) Rules(ctx context.Context) ([]Rule, error) {
	ctx, cancel := context.WithTimeout(ctx, m.timeout)
	defer cancel()
	cursor, err := m.collection.Find(ctx, bson.D{}, options.Find().SetSort(bson.D{{Key: "seq", Value: 1}}).SetLimit(maxRules+1))
	if err != nil {
		return nil, fmt.Errorf("ask for rules: %w", err)
	}
	defer cursor.Close(ctx)
	var rules []Rule
	for cursor.Next(ctx) {
		if len(rules) == maxRules {
			return nil, fmt.Errorf("the collection has more than %d documents", maxRules)
		}
		rule, err := parseDocument(cursor.Current)
		if err != nil {
			return nil, fmt.Errorf("document %d of the access list: %w", len(rules)+1, err)
		}
		rules = append(rules, rule)
	}
	if err := cursor.Err(); err != nil {
		return nil, fmt.Errorf("ask for rules: %w", err)
	}
	return rules, nil
}

// parseDocument returns a document of an access list as a rule in JSON.
func parseDocument(raw bson.Raw) (Rule, error) {
	elements, err := raw.Elements()
	if err != nil {
		return Rule{}, err
	}
	id := raw.Lookup("_id").String()
	seq, ok := raw.Lookup("seq").AsInt64OK()
	if !ok {
		return Rule{}, fmt.Errorf("_id %s: no seq: its place among the others is not known", id)
	}
	rest := bson.D{}
	for _, e := range elements {
		if key := e.Key(); key != "_id" && key != "seq" {
			rest = append(rest, bson.E{Key: key, Value: e.Value()})
		}
	}
	text, err := bson.MarshalExtJSON(rest, false, false)
	if err != nil {
		return Rule{}, fmt.Errorf("_id %s: %w", id, err)
	}
	return Rule{Place: fmt.Sprintf("document with seq %d", seq), Seq: seq, Text: text}, nil
}
