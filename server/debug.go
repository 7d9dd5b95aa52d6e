package server

import (
	"encoding/json"
	"net/http"
	"net/http/pprof"
)

// Debug answers what operators ask on an address of its own, which is not for clients: profiles, the health of the
// process and what it waits for, and metrics at metricsPath where there are any. Its paths are distribution's.
func (s *Server) Debug(metricsPath string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET /debug/health", func(w http.ResponseWriter, r *http.Request) {
		failing := s.state.Load().Checks.Failing()
		status := http.StatusOK
		if len(failing) > 0 {
			status = http.StatusServiceUnavailable
		}
		if failing == nil {
			failing = map[string]string{}
		}
		body, err := json.Marshal(failing)
		if err != nil {
			body = []byte("{}")
		}
		writeBody(w, status, "application/json", body)
	})
	mux.HandleFunc("POST /debug/health/{state}", func(w http.ResponseWriter, r *http.Request) {
		checks, state := s.state.Load().Checks, r.PathValue("state")
		if checks == nil || state != "down" && state != "up" {
			http.NotFound(w, r)
			return
		}
		checks.Down(state == "down")
		w.WriteHeader(http.StatusOK)
	})
	mux.HandleFunc("GET "+metricsPath, func(w http.ResponseWriter, r *http.Request) {
		if m := s.state.Load().Metrics; m != nil {
			m.Handler().ServeHTTP(w, r)
			return
		}
		http.NotFound(w, r)
	})
	return mux
}
