package deploy_test

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/unit"
	"github.com/spf13/pflag"

	"github.com/thronghq/throng/internal/config"
)

// TestUnitVerifies has systemd read the unit. The program that it starts is
// replaced by one that exists on this machine.
func TestUnitVerifies(t *testing.T) {
	path := verifiableUnit(t)
	output, err := exec.Command("systemd-analyze", "verify", path).CombinedOutput()
	if err != nil || len(output) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, output)
	}
}

// TestUnitIsHardened has systemd rate how exposed the service is, from 0 to
// 100, without running it.
func TestUnitIsHardened(t *testing.T) {
	output, err := exec.Command("systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", verifiableUnit(t)).CombinedOutput()
	if err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, output)
	}
}

// verifiableUnit writes a copy of the unit whose program exists.
func verifiableUnit(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("systemd-analyze"); errors.Is(err, exec.ErrNotFound) {
		t.Skip("systemd-analyze is not installed; make test installs it")
	}
	text, err := os.ReadFile("throng.service")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	copied := strings.Replace(string(text), "/usr/local/bin/throng", program, 1)
	if copied == string(text) {
		t.Fatal("the unit does not start /usr/local/bin/throng")
	}
	path := filepath.Join(t.TempDir(), "throng.service")
	if err := os.WriteFile(path, []byte(copied), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestUnitFitsTheServer holds the unit to what the server does.
func TestUnitFitsTheServer(t *testing.T) {
	file, err := os.Open("throng.service")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	options, err := unit.DeserializeOptions(file)
	if err != nil {
		t.Fatal(err)
	}
	settings := map[string]string{}
	for _, option := range options {
		settings[option.Name] += option.Value + "\n"
	}
	for name, want := range map[string]string{
		"Type": "notify\n", "User": "throng\n", "StateDirectory": "throng\n", "LimitNOFILE": "1048576\n",
		"Restart": "on-failure\n", "EnvironmentFile": "-/etc/default/throng\n",
	} {
		if settings[name] != want {
			t.Errorf("%s is %q, want %q", name, settings[name], want)
		}
	}
	stop, err := time.ParseDuration(strings.TrimSpace(settings["TimeoutStopSec"]) + "s")
	if drain := config.Default().DrainTimeout; err != nil || stop < drain+20*time.Second {
		t.Errorf("TimeoutStopSec is %s (%v), which leaves less than 20 s after a drain of %s", stop, err, drain)
	}

	environ := strings.Split(strings.TrimSpace(settings["Environment"]), "\n")
	environ[0] = "THRONG_CONFIG=throng.toml" // where it is installed from
	cfg, err := config.AddFlags(pflag.NewFlagSet("serve", pflag.ContinueOnError)).Load(environ)
	if err != nil {
		t.Fatalf("the unit's environment and deploy/throng.toml: %v", err)
	}
	if cfg.DataDir != "/var/lib/throng" || cfg.File() != "throng.toml" {
		t.Errorf("data_dir is %q and the file %q", cfg.DataDir, cfg.File())
	}
}

// TestExampleShowsDefaults uncomments every setting of the example.
func TestExampleShowsDefaults(t *testing.T) {
	text, err := os.ReadFile("throng.toml")
	if err != nil {
		t.Fatal(err)
	}
	whole := regexp.MustCompile(`(?m)^#(\S)`).ReplaceAllString(string(text), "$1")
	if whole == string(text) {
		t.Fatal("the example has no setting that is commented out")
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(strings.Repeat("s", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	whole = strings.Replace(whole, "/etc/throng/secret", secret, 1)
	path := filepath.Join(t.TempDir(), "throng.toml")
	if err := os.WriteFile(path, []byte(whole), 0o600); err != nil {
		t.Fatal(err)
	}
	set := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	set.SetOutput(io.Discard)
	flags := config.AddFlags(set)
	if err := flags.Parse([]string{"--config", path}); err != nil {
		t.Fatal(err)
	}
	cfg, err := flags.Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range cfg.Namespaces { // chat shows a setting that is no default
		if cfg.Namespaces[i].Name == "chat" {
			cfg.Namespaces = append(cfg.Namespaces[:i], cfg.Namespaces[i+1:]...)
			break
		}
	}
	cfg.Auth.HS256.File = ""
	if got, want := string(cfg.AppendTOML(nil)), string(config.Default().AppendTOML(nil)); got != want {
		t.Errorf("uncommented, the example says\n%s\nwant the defaults\n%s", got, want)
	}
}
