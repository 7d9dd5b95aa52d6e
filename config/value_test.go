package config_test

import (
	"testing"

	"customhouse/config"
)

func TestSize(t *testing.T) {
	tests := []struct {
		text string
		want config.Size
		back string
	}{
		{"0", 0, "0"},
		{"1", 1, "1"},
		{"1024", 1024, "1KiB"},
		{"512MiB", 512 << 20, "512MiB"},
		{"10 GiB", 10 << 30, "10GiB"},
		{"10GB", 10e9, "10GB"},
		{"8191PiB", 8191 << 50, "8191PiB"},
		{"7B", 7, "7"},
	}
	for _, tt := range tests {
		var got config.Size
		if err := got.UnmarshalText([]byte(tt.text)); err != nil || got != tt.want || got.String() != tt.back {
			t.Errorf("Size(%q) = %d, %q, %v, want %d, %q", tt.text, got, got, err, tt.want, tt.back)
		}
	}
	for _, bad := range []string{"", "-1", "+1", "1.5GiB", "8192PiB", "GiB", "1  GiB", "10gib", "0x10", "1_000", "9223372036854775808", "1e3", "1MiBB"} {
		if err := new(config.Size).UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("Size(%q) is accepted", bad)
		}
	}
}

func TestReserve(t *testing.T) {
	tests := []struct {
		text, back string
		want       config.Reserve
	}{
		{"2%", "2%", config.Reserve{Percent: 2}},
		{"0.5%", "0.5%", config.Reserve{Percent: 0.5}},
		{"0%", "0", config.Reserve{}},
		{"0", "0", config.Reserve{}},
		{"1KiB", "1KiB", config.Reserve{Bytes: 1024}},
	}
	for _, tt := range tests {
		var got config.Reserve
		if err := got.UnmarshalText([]byte(tt.text)); err != nil || got.String() != tt.back || got != tt.want {
			t.Errorf("Reserve(%q) = %+v (%q), %v, want %+v (%q)", tt.text, got, got, err, tt.want, tt.back)
		}
	}
	for _, bad := range []string{"", "%", "100%", "-1%", "NaN%", "Inf%", "2 %%", "many"} {
		if err := new(config.Reserve).UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("Reserve(%q) is accepted", bad)
		}
	}
}
