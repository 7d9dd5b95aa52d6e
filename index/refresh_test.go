package index_test

import (
	"testing"
	"time"

	"customhouse"
)

func TestS29_RotatedRefreshTokens(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	db, ctx := openAt(t, &now), t.Context()
	token := func(n byte, family string) customhouse.RefreshToken {
		return customhouse.RefreshToken{Hash: [32]byte{n}, Service: "house", Family: family, Posted: true, Expires: now.Add(time.Hour), Identity: customhouse.Identity{Account: "alice"}}
	}
	must(t, db.PutRefresh(ctx, token(1, "f")), db.PutRefresh(ctx, token(9, "other")))
	must(t, db.RotateRefresh(ctx, [32]byte{1}, token(2, "f"), now))
	must(t, db.RotateRefresh(ctx, [32]byte{1}, token(3, "f"), now.Add(time.Minute)))
	old, err := db.Refresh(ctx, [32]byte{1})
	must(t, err)
	if !old.Rotated.Equal(now) || !old.Posted || old.Family != "f" {
		t.Errorf("the first = %+v, want it replaced at %v, when it first was", old, now)
	}
	for _, n := range []byte{2, 3} {
		if next, err := db.Refresh(ctx, [32]byte{n}); err != nil || !next.Rotated.IsZero() || next.Family != "f" {
			t.Errorf("what takes its place = %+v, %v", next, err)
		}
	}
	must(t, db.DeleteRefreshes(ctx, "f"))
	for _, n := range []byte{1, 2, 3} {
		_, err := db.Refresh(ctx, [32]byte{n})
		wantNotFound(t, "Refresh of a revoked family", err)
	}
	wantNotFound(t, "RotateRefresh of a revoked family", db.RotateRefresh(ctx, [32]byte{2}, token(4, "f"), now))
	if _, err := db.Refresh(ctx, [32]byte{4}); err == nil {
		t.Error("what was to take the place of a revoked token is kept")
	}
	if _, err := db.Refresh(ctx, [32]byte{9}); err != nil {
		t.Errorf("Refresh of another family = %v", err)
	}
}
