package main

import "testing"

func TestDefaultData(t *testing.T) {
	tests := []struct {
		state, xdg, home string
		want             string
	}{
		{"/var/lib/customhouse", "/xdg", "/home/a", "/var/lib/customhouse"},
		{"/var/lib/one:/var/lib/two", "", "/home/a", "/var/lib/one"},
		{"", "/xdg", "/home/a", "/xdg/customhouse"},
		{"", "relative", "/home/a", "/home/a/.local/share/customhouse"},
		{"", "", "/home/a", "/home/a/.local/share/customhouse"},
		{"", "", "", ""},
	}
	for _, tt := range tests {
		env := map[string]string{"STATE_DIRECTORY": tt.state, "XDG_DATA_HOME": tt.xdg, "HOME": tt.home}
		got, err := defaultData(func(name string) string { return env[name] })
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("defaultData(%v) = %q, %v, want %q", env, got, err, tt.want)
		}
	}
}
