package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/thronghq/throng/internal/throngtest"
)

// cheapHashes keeps the tests from hashing at full cost.
var cheapHashes = []string{"THRONG_AUTH_ARGON2_MEMORY=8MiB", "THRONG_AUTH_ARGON2_TIME=1"}

// accountsOf is the command line's look after the accounts of one data
// directory.
type accountsOf struct {
	t   *testing.T
	dir string
}

// run runs throng user and returns what it wrote. The input is a password.
func (a accountsOf) run(code int, input string, args ...string) (stdout, stderr string) {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, throngtest.Build(a.t), append(append([]string{"user"}, args...), "--data-dir", a.dir)...)
	var out, err bytes.Buffer
	c.Stdin, c.Stdout, c.Stderr = strings.NewReader(input), &out, &err
	c.Env = append(throngtest.Environ(), cheapHashes...)
	if failed := c.Run(); failed != nil && !errors.As(failed, new(*exec.ExitError)) {
		a.t.Fatal(failed)
	}
	if got := c.ProcessState.ExitCode(); got != code {
		a.t.Fatalf("throng user %q exits with %d, want %d:\n%s%s", args, got, code, out.String(), err.String())
	}
	return out.String(), err.String()
}

// list returns the lines of throng user list but the first, their times left
// out.
func (a accountsOf) list(args ...string) string {
	a.t.Helper()
	out, _ := a.run(exitOK, "", append([]string{"list"}, args...)...)
	var lines []string
	for i, line := range strings.Split(strings.TrimSpace(out), "\n") {
		if i > 0 {
			lines = append(lines, strings.Join(strings.Fields(line)[:3], " "))
		}
	}
	return strings.Join(lines, ", ")
}

func (a accountsOf) wantList(want string) {
	a.t.Helper()
	if got := a.list(); got != want {
		a.t.Fatalf("the users are %q, want %q", got, want)
	}
}

// TestUserAlone looks after accounts without a server.
func TestUserAlone(t *testing.T) {
	a := accountsOf{t, filepath.Join(t.TempDir(), "not", "yet")}
	if _, err := a.run(exitFailure, "", "list"); !strings.Contains(err, "--data-dir") {
		t.Errorf("without a store: %s", err)
	}
	if _, err := os.Stat(a.dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a list makes a store: %v", err)
	}
	generated, _ := a.run(exitOK, "", "add", "Ada", "--admin", "--generate")
	if len(strings.TrimSpace(generated)) < 20 {
		t.Errorf("generated %q", generated)
	}
	a.run(exitOK, "bob's password\n", "add", "--password-stdin", "bob")
	a.wantList("ada yes enabled, bob no enabled")
	if got := a.list("--prefix", "b"); got != "bob no enabled" {
		t.Errorf("with a prefix: %q", got)
	}
	if _, err := a.run(exitFailure, "another one", "add", "BOB", "--password-stdin"); !strings.Contains(err, "taken") {
		t.Errorf("a taken name: %s", err)
	}
	if _, err := a.run(exitFailure, "short", "add", "eve", "--password-stdin"); !strings.Contains(err, "too short") {
		t.Errorf("a short password: %s", err)
	}
	if _, err := a.run(exitFailure, "", "add", "eve"); !strings.Contains(err, "--password-stdin") {
		t.Errorf("no terminal: %s", err)
	}
	a.run(exitFailure, "some password", "add", "eve", "--password-stdin", "--generate")
	if _, err := a.run(exitFailure, "", "disable", "nobody"); !strings.Contains(err, "nobody") {
		t.Errorf("an unknown user: %s", err)
	}
	a.run(exitOK, "", "disable", "bob")
	a.wantList("ada yes enabled, bob no disabled")
	a.run(exitOK, "", "enable", "bob")
	a.wantList("ada yes enabled, bob no enabled")
	a.run(exitOK, "", "delete", "ada")
	a.wantList("bob no enabled")
	for _, args := range [][]string{{}, {"add"}, {"disable"}, {"explode", "ada"}, {"list", "--generate"}, {"add", "a", "b"}} {
		a.run(exitUsage, "", args...)
	}
	if out, _ := a.run(exitOK, "", "--help"); !strings.Contains(out, "--password-stdin") {
		t.Errorf("the help says %s", out)
	}

	// A server finds what was done without it.
	s := startAccounts(t, a.dir)
	if status, _ := s.post("/login", "bob", "bob's password"); status != http.StatusOK {
		t.Errorf("login answers %d", status)
	}
}

// accountsServer is a server whose hashes are cheap.
type accountsServer struct {
	*throngtest.Server
	t *testing.T
}

func startAccounts(t *testing.T, dir string) accountsServer {
	t.Helper()
	return accountsServer{throngtest.Start(t, throngtest.Options{DataDir: dir, NoDev: true, Env: cheapHashes}), t}
}

// post sends a name and a password, and returns the answer.
func (s accountsServer) post(path, name, password string) (status int, answer map[string]any) {
	s.t.Helper()
	body, _ := json.Marshal(map[string]string{"username": name, "password": password})
	response, err := http.Post(s.URL("/api/v1"+path), "application/json", bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		s.t.Fatal(err)
	}
	return response.StatusCode, answer
}

// TestUserBesideServer looks after the accounts of a server that runs: what is
// changed counts at once, also for connections.
func TestUserBesideServer(t *testing.T) {
	s := startAccounts(t, t.TempDir())
	a := accountsOf{t, s.DataDir}
	socket := filepath.Join(s.DataDir, adminSocketFile)
	info, err := os.Stat(socket)
	if err != nil || info.Mode().Perm() != 0o600 || info.Mode()&fs.ModeSocket == 0 {
		t.Fatalf("the socket: %v, %v", info.Mode(), err)
	}
	a.run(exitOK, "ada's password", "add", "ada", "--password-stdin")
	status, tokens := s.post("/login", "ada", "ada's password")
	if status != http.StatusOK {
		t.Fatalf("login answers %d, %v", status, tokens)
	}
	ada := throngtest.Dial(t, s.WSURL("/ws?token="+tokens["accessToken"].(string)), throngtest.DialOptions{})
	ada.Expect("session")
	a.run(exitOK, "", "disable", "ada")
	ada.ExpectClose(4403)
	if status, problem := s.post("/login", "ada", "ada's password"); status != http.StatusForbidden || problem["code"] != "account_disabled" {
		t.Errorf("login of a disabled user: %d, %v", status, problem)
	}
	a.run(exitOK, "", "enable", "ada")
	a.run(exitOK, "another password\r\n", "passwd", "ada", "--password-stdin")
	if status, _ := s.post("/login", "ada", "ada's password"); status != http.StatusUnauthorized {
		t.Errorf("login with the old password: %d", status)
	}
	if status, _ := s.post("/login", "ada", "another password"); status != http.StatusOK {
		t.Errorf("login with the new password: %d", status)
	}

	// What a killed server leaves hinders nobody.
	s.Kill()
	if _, err := os.Stat(socket); err != nil {
		t.Fatalf("a killed server removes its socket: %v", err)
	}
	a.run(exitOK, "", "add", "eve", "--generate")
	s.Restart()
	a.wantList("ada no enabled, eve no enabled")
	s.Stop()
	if _, err := os.Stat(socket); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a server that ended leaves its socket: %v", err)
	}
	a.wantList("ada no enabled, eve no enabled")
}

// TestHashWorker: the process that hashes has nothing of the server's but its
// pipes, and ends with the server, also with one that is killed.
func TestHashWorker(t *testing.T) {
	s := startAccounts(t, t.TempDir())
	for _, end := range []func(){s.Kill, s.Stop} {
		throngtest.Dial(t, s.WSURL("/ws"), throngtest.DialOptions{}) // a socket that could be inherited
		s.post("/login", "ada", "ada's password")
		worker := hashWorkerOf(t, s.PID())
		descriptors, err := os.ReadDir(worker + "/fd")
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range descriptors {
			if target, err := os.Readlink(filepath.Join(worker, "fd", d.Name())); err == nil && strings.HasPrefix(target, "socket:") {
				t.Errorf("descriptor %s of the process is %s", d.Name(), target)
			}
		}
		end()
		for deadline := time.Now().Add(time.Minute); ; runtime.Gosched() {
			if stat, err := os.ReadFile(worker + "/stat"); err != nil || bytes.Contains(stat, []byte(") Z ")) {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("the process outlives the server")
			}
		}
		s.Restart()
	}
}

// hashWorkerOf returns the folder in /proc of the one child of a process.
func hashWorkerOf(t *testing.T, pid int) string {
	t.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	var children []string
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			t.Skipf("the kernel does not tell a process's children: %v", err)
		}
		children = append(children, strings.Fields(string(text))...)
	}
	if len(children) != 1 {
		t.Fatalf("the server has the children %q", children)
	}
	command, err := os.ReadFile("/proc/" + children[0] + "/cmdline")
	if err != nil || !bytes.HasSuffix(command, []byte("\x00hash-worker\x00")) {
		t.Fatalf("the child is %q, %v", command, err)
	}
	return "/proc/" + children[0]
}

// TestUserFarAway has a data directory whose path is longer than a socket's
// address may be.
func TestUserFarAway(t *testing.T) {
	s := startAccounts(t, filepath.Join(t.TempDir(), strings.Repeat("long/", 30)))
	a := accountsOf{t, s.DataDir}
	a.run(exitOK, "", "add", "ada", "--generate")
	a.wantList("ada no enabled")
	s.Stop()
	if _, err := os.Stat(filepath.Join(s.DataDir, adminSocketFile)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
}

// TestUserPrompt types a password on a terminal, which does not show it.
func TestUserPrompt(t *testing.T) {
	terminal, name := openTerminal(t)
	a := accountsOf{t, filepath.Join(t.TempDir(), "data")}
	for _, test := range []struct {
		typed []string
		code  int
	}{
		{[]string{"a good password", "a good password"}, exitOK},
		{[]string{"a good password", "a bad password"}, exitFailure},
	} {
		side, err := os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY, 0)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		c := exec.CommandContext(ctx, throngtest.Build(t), "user", "add", fmt.Sprint("user", test.code), "--data-dir", a.dir)
		c.Env = append(throngtest.Environ(), cheapHashes...)
		c.Stdin, c.Stdout, c.Stderr = side, side, side
		c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		side.Close()
		screen := bufio.NewReader(terminal)
		var shown strings.Builder
		for _, password := range test.typed {
			prompt, err := screen.ReadString(':') // echo is off from here on
			if err != nil {
				t.Fatal(err)
			}
			shown.WriteString(prompt)
			awaitNoEcho(t, terminal)
			if _, err := terminal.WriteString(password + "\n"); err != nil {
				t.Fatal(err)
			}
		}
		_ = c.Wait()
		if code := c.ProcessState.ExitCode(); code != test.code {
			t.Errorf("typed %q: exits with %d, want %d", test.typed, code, test.code)
		}
		for screen.Buffered() > 0 {
			rest, _ := screen.ReadByte()
			shown.WriteByte(rest)
		}
		if strings.Contains(shown.String(), "password a") || strings.Contains(shown.String(), "good") {
			t.Errorf("the terminal shows %q", shown.String())
		}
	}
	a.wantList("user0 no enabled")
}

// awaitNoEcho waits until the terminal shows nothing that is typed.
func awaitNoEcho(t *testing.T, terminal *os.File) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); runtime.Gosched() {
		state, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
		if err != nil {
			t.Fatal(err)
		}
		if state.Lflag&unix.ECHO == 0 {
			return
		}
	}
	t.Fatal("the terminal shows what is typed")
}

// openTerminal opens a pseudo-terminal and returns the name of its other side.
func openTerminal(t *testing.T) (*os.File, string) {
	t.Helper()
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { terminal.Close() })
	if err := unix.IoctlSetPointerInt(int(terminal.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(terminal.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	return terminal, fmt.Sprintf("/dev/pts/%d", number)
}

// TestAdminSocketRefusesStrangers comes as another user, whom the file's mode
// would let in.
func TestAdminSocketRefusesStrangers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can be somebody else")
	}
	dir := t.TempDir()
	ln, err := listenAdmin(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	hello := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })
	s := serveAdmin(ln, hello, slog.New(slog.DiscardHandler))
	defer s.close()
	socket := filepath.Join(dir, adminSocketFile)
	if err := errors.Join(os.Chmod(socket, 0o666), os.Chmod(dir, 0o755), os.Chmod(filepath.Dir(dir), 0o755)); err != nil {
		t.Fatal(err)
	}
	ask := func() string {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n")
		answer, _ := io.ReadAll(conn)
		return string(answer)
	}
	if answer := ask(); !strings.HasSuffix(answer, "hello") {
		t.Fatalf("root gets %q", answer)
	}
	asNobody(t, func() {
		if answer := ask(); answer != "" {
			t.Errorf("a stranger gets %q", answer)
		}
	})
}

// asNobody runs f on a thread of another user.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	const nobody, same = 65534, ^uintptr(0)
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and end the thread with the goroutine
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, same, nobody, same); errno != 0 {
			t.Error(errno)
			return
		}
		f()
	}()
	<-done
}
