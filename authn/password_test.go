package authn_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"customhouse"
	"customhouse/authn"
)

func TestHashPassword(t *testing.T) {
	for _, bad := range []string{"", strings.Repeat("x", 73), "a\x00b"} {
		if h, err := authn.HashPassword(customhouse.Secret(bad)); err == nil {
			t.Errorf("HashPassword(%q) = %q, want an error", bad, string(h))
		}
	}
	h, err := authn.HashPassword("secret")
	if err != nil {
		t.Fatalf("HashPassword = %v", err)
	}
	parsed, err := authn.ParseHash(h)
	if err != nil || parsed.Cost() != authn.HashCost {
		t.Fatalf("ParseHash = cost %d, %v, want %d", parsed.Cost(), err, authn.HashCost)
	}
	if err := bcrypt.CompareHashAndPassword([]byte(h), []byte("secret")); err != nil {
		t.Fatalf("CompareHashAndPassword = %v", err)
	}
}

func TestParseHash(t *testing.T) {
	tail := "$" + strings.Repeat("a", 53)
	for _, good := range []string{"$2a$04" + tail, "$2b$10" + tail, "$2y$05" + tail, "$2y$15" + tail} {
		if _, err := authn.ParseHash(customhouse.Secret(good)); err != nil {
			t.Errorf("ParseHash(%q) = %v", good, err)
		}
	}
	for _, bad := range []string{
		"", "secret", "$apr1$x$y", "{SHA}abc", "$2a$10$short", "$2x$10" + tail, "$3a$10" + tail, "$2a$03" + tail, "$2a$16" + tail,
		"$2a$31" + tail, "$2a$-4" + tail, "$2a$ 4" + tail, "$2a$10" + tail + "x", "$2a$10$" + strings.Repeat("!", 53), "$2a$10" + tail[:53] + "\n",
	} {
		if _, err := authn.ParseHash(customhouse.Secret(bad)); err == nil {
			t.Errorf("ParseHash(%q) = nil, want an error", bad)
		} else if bad != "" && strings.Contains(err.Error(), bad) {
			t.Errorf("ParseHash = %v, which tells the hash", err)
		}
	}
}

// duration of one login.
func timed(t testing.TB, chain *authn.Chain, cred customhouse.Credential) time.Duration {
	t.Helper()
	start := time.Now()
	if _, err := chain.Authenticate(t.Context(), cred); err == nil {
		t.Fatalf("Authenticate(%q) = nil, want a refusal", cred.Account)
	}
	return time.Since(start)
}

// TestS36UnknownUsersTakeAsLong interleaves bad logins for accounts that exist and that do not, so that whatever else
// the machine does hits both alike, and compares the medians.
func TestS36UnknownUsersTakeAsLong(t *testing.T) {
	const pairs = 15
	alice := customhouse.Account{Name: "alice", Password: hash(t, "secret", authn.HashCost)}
	carol := customhouse.Account{Name: "carol", Password: hash(t, "secret", 8)} // cheaper to check, but not to be told from
	for name, make := range sources {
		t.Run(name, func(t *testing.T) {
			p := authn.NewPasswords(authn.PasswordOptions{})
			chain, err := authn.NewChain(p, make(t, p, alice, carol))
			if err != nil {
				t.Fatal(err)
			}
			var off time.Duration
			for range 3 { // a machine that is busy with something else may take another look
				var known, unknown []time.Duration
				for i := range pairs {
					known = append(known, timed(t, chain, basic([]string{"alice", "carol", "carol"}[i%3], "wrong")))
					unknown = append(unknown, timed(t, chain, basic("nobody", "wrong")))
				}
				slices.Sort(known)
				slices.Sort(unknown)
				off = (known[pairs/2] - unknown[pairs/2]).Abs()
				if off <= max(5*time.Millisecond, known[pairs/2]/8) { // an eighth, where hashes take longer than 40ms
					return
				}
			}
			t.Fatalf("the medians are %v apart, want at most 5ms", off)
		})
	}
}

// TestS39LongPasswords shows that bcrypt's blindness after 72 bytes opens nothing, and that length costs no time.
func TestS39LongPasswords(t *testing.T) {
	p := authn.NewPasswords(authn.PasswordOptions{})
	long := strings.Repeat("p", authn.MaxPasswordLength)
	chain, err := authn.NewChain(p, sources["users"](t, p, customhouse.Account{Name: "alice", Password: hash(t, long, 8)}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := chain.Authenticate(t.Context(), basic("alice", long)); err != nil {
		t.Fatalf("Authenticate = %v", err)
	}
	for _, suffix := range []string{"x", long, "\x00", strings.Repeat("x", 1<<20)} {
		start := time.Now()
		_, err := chain.Authenticate(t.Context(), basic("alice", long+suffix))
		if took := time.Since(start); !errors.Is(err, authn.ErrWrongPassword) || took > 10*time.Second {
			t.Fatalf("Authenticate with %d bytes = %v after %v", len(long+suffix), err, took)
		}
	}
	huge := basic("alice", strings.Repeat("x", 1<<20))
	if n := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			chain.Authenticate(b.Context(), huge)
		}
	}).AllocedBytesPerOp(); n > 64<<10 {
		t.Fatalf("a password of 1 MiB allocates %d bytes", n)
	}
}

// TestS38OneHashForMany shows that the same credential is hashed once for all who bring it together, that surplus is
// refused, and that whoever leaves does not fail the others.
func TestS38OneHashForMany(t *testing.T) {
	p := authn.NewPasswords(authn.PasswordOptions{Concurrent: 1, Waiting: 2})
	users := sources["users"](t, p, customhouse.Account{Name: "alice", Password: hash(t, "secret", 10)})

	start := time.Now()
	if _, err := users.Authenticate(t.Context(), basic("alice", "secret")); err != nil {
		t.Fatalf("Authenticate = %v", err)
	}
	one := time.Since(start)
	var wg sync.WaitGroup
	start = time.Now()
	for range 100 {
		wg.Go(func() {
			if _, err := users.Authenticate(t.Context(), basic("alice", "secret")); err != nil {
				t.Errorf("Authenticate = %v", err)
			}
		})
	}
	wg.Wait()
	if took := time.Since(start); took > 20*one+time.Second {
		t.Errorf("100 logins together took %v, one takes %v", took, one)
	}

	busy := make(chan error, 20)
	for i := range cap(busy) {
		wg.Go(func() {
			_, err := users.Authenticate(t.Context(), basic("alice", fmt.Sprint("guess", i)))
			busy <- err
		})
	}
	wg.Wait()
	close(busy)
	refused := 0
	for err := range busy {
		if errors.Is(err, authn.ErrBusy) {
			refused++
		} else if !errors.Is(err, authn.ErrWrongPassword) {
			t.Errorf("Authenticate = %v, want ErrWrongPassword or ErrBusy", err)
		}
	}
	if refused == 0 {
		t.Errorf("20 guesses at once, and none was refused for want of room")
	}

	wg.Go(func() { users.Authenticate(t.Context(), basic("alice", "occupies the slot")) })
	leaving, leave := context.WithTimeout(t.Context(), time.Millisecond)
	defer leave()
	wg.Go(func() { users.Authenticate(leaving, basic("alice", "secret")) })
	time.Sleep(2 * time.Millisecond) // the leader of the flight has likely come and gone; the outcome is the same if not
	if _, err := users.Authenticate(t.Context(), basic("alice", "secret")); err != nil {
		t.Errorf("Authenticate after somebody left = %v", err)
	}
	wg.Wait()
}

func BenchmarkAuthenticateWrong(b *testing.B) {
	p := authn.NewPasswords(authn.PasswordOptions{})
	users := sources["users"](b, p, customhouse.Account{Name: "alice", Password: hash(b, "secret", authn.HashCost)})
	for b.Loop() {
		users.Authenticate(b.Context(), basic("alice", "wrong"))
	}
}
