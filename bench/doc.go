// Bench measures Customhouse beside Debian's docker-registry (CNCF distribution 2.8) and prints a table for the README.
//
//	make bench                         all scenarios, all peers, without authentication and with tokens
//	bench/run -quick                   the same in short: less content, one second, one round
//	bench/run -only customhouse,limit -auth off -scenarios blob-get-4k,manifest-get
//	bench/run -service -quick          the token service in docker_auth's place alone: half a minute
//	go run ./bench -url http://127.0.0.1:5000 -scenario blob-get-4k -c 8 -d 3s -user writer:writer-secret -pid $(pidof customhouse)
//
// The last form puts the content that the scenario needs into a registry that runs already, if it is not there, and
// measures once per round: for profiling. With -pid it tells the CPU time and the memory of that server; with -pin the
// client keeps to the second core. The shell script bench/run installs docker-registry if it is missing and builds both
// programs.
//
// # How it measures
//
// Each peer is started anew with an empty folder, filled through its own HTTP interface, measured, stopped and started
// again with one core (GOMAXPROCS=1 and CPU affinity) for the scenarios that are pinned; the clients have the other core
// then. What writes runs unpinned. A scenario is verified before it is measured, by an ordinary HTTP client that
// compares digests; while it is measured, status and length of every answer are checked. A figure is the median of the
// rounds. Before each round dirty pages are written to disk, and the bench waits a while for other programs to pause; a
// figure that they disturbed nevertheless is marked.
//
// The clients are raw connections with requests built beforehand (conn.go), because net/http would need more of a core
// than the servers. Bodies that were received are discarded inside the kernel, and the digests of bodies to send cost one
// block each (upload.go): with tokens as without, the server does the work.
//
// The peer called limit is not a registry: it is the least that one can do with net/http (limit.go). Its figures, and
// those of the machine itself, say how much is left to gain. It runs without authentication only.
//
// With tokens, Customhouse issues them itself, for the account of examples/two-users; docker-registry trusts a key of
// the bench, which signs RS256 tokens as docker_auth would.
//
// The last table (service.go) is that of the token service with docker_auth's configuration: logins that are remembered and
// not, programs of each kind, a thousand rules. Each row stands beside what the machine can do at most (signatures, bcrypts,
// starts of the script, on the same core and in the same run), what the project wants to reach, and docker_auth's figure: that
// of another machine, or with -docker-auth BINARY that of the same run.
//
// Every process that the bench starts ends with it, on errors and on Ctrl-C too, and its folders are removed.
package main
