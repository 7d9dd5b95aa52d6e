//go:build linux

package e2e_test

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// pythonScript makes an image with a shell and Python of what this machine has of them, laid out as in Debian. It stands
// for the image that deploy/python.Dockerfile names, which would have to be pulled.
const pythonScript = `set -e
root=$1; python=$(readlink -f /usr/bin/python3); library=/usr/lib/$(basename "$python")
mkdir -p "$root/usr/bin" "$root/usr/lib" "$root/usr/lib64" "$root/etc/ssl/certs"
for name in bin lib lib64; do ln -s usr/$name "$root/$name"; done
programs="$(readlink -f /bin/sh) /usr/bin/env $python"
for library_of in $programs "$library"/lib-dynload/*.so; do ldd "$library_of" 2>/dev/null || true; done |
  grep -o '/[^ )]*' | sort -u | tar -C / -c --dereference -T - $programs 2>/dev/null | tar -x --keep-directory-symlink -C "$root"
ln -s "$(basename "$(readlink -f /bin/sh)")" "$root/usr/bin/sh"
ln -s "$(basename "$python")" "$root/usr/bin/python3"
tar -C / -c --exclude='*/test' --exclude='*/__pycache__' "${library#/}" | tar -x -C "$root"
tar -C "$root" -c .`

// TestImages builds the images of deploy and, on top of them, those of the recipe, and runs the recipe in containers.
func TestImages(t *testing.T) {
	t.Parallel()
	w := newSeed(t)
	w.resolve(t, seedHost, elsewhere)
	daemon := startDockerdUnder(t, w.network(t), "SSL_CERT_FILE="+seedCertificate(t, w.path("ssl/domain.crt")))
	admin := daemon.newClient(t)

	base, err := os.Create(filepath.Join(t.TempDir(), "python.tar"))
	must(t, err)
	defer base.Close()
	archive := exec.Command("sh", "-c", pythonScript, "sh", t.TempDir())
	archive.Stdout = base
	must(t, archive.Run())
	admin.run(t, "import", base.Name(), "python:3-slim-bookworm")

	build := exec.Command(filepath.Join(root, "deploy/image"), "--python")
	build.Env = append(os.Environ(), append(admin.env, "CUSTOMHOUSE_BINARY="+binary)...)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("deploy/image: %v\n%s", err, out)
	}
	if got, want := filesOf(t, admin, "customhouse"), []string{
		"bin/customhouse", "bin/registry -> customhouse", "docker_auth/auth_server -> ../bin/customhouse", "etc/ssl/certs/ca-certificates.crt",
	}; !slices.Equal(got, want) {
		t.Errorf("the image has the files %q, want %q", got, want)
	}
	t.Logf("customhouse has %s bytes", admin.run(t, "image", "inspect", "--format={{.Size}}", "customhouse"))
	if got := admin.run(t, "run", "--rm", "--network=host", "--read-only", "--user=1000:1000", "customhouse", "/bin/registry", "--version"); !strings.HasPrefix(got, "registry ") {
		t.Errorf("registry --version = %q", got)
	}

	for _, service := range []struct{ name, ready string }{{"auth", "listening on"}, {"registry", "listening on"}} {
		admin.run(t, "build", "--quiet", "--file="+filepath.Join(root, "deploy/seed", service.name+".Dockerfile"),
			"--tag=seed-"+service.name, filepath.Join(w.dir, service.name))
		admin.run(t, "run", "--detach", "--network=host", "--env=CICD_SECRET=cicd-secret", "--name="+service.name, "seed-"+service.name)
		t.Cleanup(func() {
			if t.Failed() {
				_, out, _ := admin.exec(t, []string{"logs", service.name})
				t.Logf("%s wrote:\n%.4000s", service.name, out)
			}
		})
		await(t, startTime, func() bool {
			_, out, err := admin.exec(t, []string{"logs", service.name})
			return err == nil && strings.Contains(out, service.ready)
		})
	}
	w.promises(t, daemon, elsewhere)
	for _, name := range []string{"auth", "registry"} {
		admin.run(t, "stop", "--time=30", name)
		if got := admin.run(t, "inspect", "--format={{.State.ExitCode}}", name); got != "0" {
			t.Errorf("%s ends with %s, want 0", name, got)
		}
	}
}

// filesOf lists what is in an image beside folders, and where links lead. Docker itself adds some files to a container.
func filesOf(t *testing.T, d docker, image string) []string {
	t.Helper()
	id := d.run(t, "create", image)
	defer d.run(t, "rm", id)
	file := filepath.Join(t.TempDir(), "image.tar")
	d.run(t, "export", "--output="+file, id)
	f, err := os.Open(file)
	must(t, err)
	defer f.Close()
	var names []string
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			slices.Sort(names)
			return names
		}
		must(t, err)
		switch {
		case h.Typeflag == tar.TypeDir, strings.HasPrefix(h.Name, "dev/"), h.Name == ".dockerenv",
			slices.Contains([]string{"etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/mtab"}, h.Name):
		case h.Typeflag == tar.TypeSymlink:
			names = append(names, h.Name+" -> "+h.Linkname)
		default:
			names = append(names, h.Name)
		}
	}
}

// What the compose file names is there.
func TestComposeFile(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(root, "deploy/seed")
	var file struct {
		Services map[string]struct {
			Build   struct{ Context, Dockerfile string }
			Volumes []string
		}
	}
	must(t, yaml.Unmarshal([]byte(read(t, filepath.Join(dir, "compose.yml"))), &file))
	if len(file.Services) != 3 {
		t.Errorf("services = %v, want three", file.Services)
	}
	for name, service := range file.Services {
		for _, volume := range service.Volumes {
			if source, _, _ := strings.Cut(volume, ":"); strings.HasPrefix(source, ".") {
				_, err := os.Stat(filepath.Join(dir, source))
				must(t, err)
			}
		}
		if context := filepath.Join(dir, service.Build.Context); service.Build.Context != "" && !isFile(filepath.Join(context, service.Build.Dockerfile)) {
			t.Errorf("%s: no Dockerfile %s", name, service.Build.Dockerfile)
		}
	}
}
