//! `make install` puts a complete library into place, and programs of others find it: by pkg-config, CMake (shared and static),
//! plain options of gcc and clang, and dlopen.

#[path = "c/toolchain.rs"]
#[allow(dead_code, reason = "each crate that includes this uses its own part")]
mod toolchain;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use toolchain::{announce, project, run_tool};

const ADVICE: &str = "An installed library could not be used.";

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Runs `make install` with these settings; the files that it says it wrote.
fn install(settings: &[String]) -> Vec<PathBuf> {
    let mut make = Command::new("make");
    make.args(["--no-print-directory", "-s", "install"]).args(settings).current_dir(project());
    // A make that runs these tests passes its own settings on.
    make.env_remove("MAKEFLAGS").env_remove("MFLAGS").env_remove("MAKELEVEL");
    let printed = run_tool(&mut make, "make install failed.");
    printed.lines().filter(|line| line.starts_with('/')).map(PathBuf::from).collect()
}

/// The prefix that the consumers use, installed once.
fn prefix() -> &'static Path {
    static PREFIX: OnceLock<PathBuf> = OnceLock::new();
    PREFIX.get_or_init(|| {
        let prefix = toolchain::build_directory().join("installed");
        let _ = fs::remove_dir_all(&prefix);
        install(&[format!("PREFIX={}", prefix.display())]);
        prefix
    })
}

/// Whether a tool is here; says so if not.
fn has(tool: &str, what: &str) -> bool {
    let there = Command::new(tool).arg("--version").output().is_ok_and(|output| output.status.success());
    if !there {
        announce(&format!("SKIP install: {what} did NOT run, {tool} is not here"));
    }
    there
}

fn flags(arguments: &[&str]) -> Vec<String> {
    let mut tool = Command::new("pkg-config");
    tool.args(arguments).arg("walrec").env("PKG_CONFIG_PATH", prefix().join("lib/pkgconfig"));
    run_tool(&mut tool, ADVICE).split_whitespace().map(str::to_owned).collect()
}

/// Compiles one of `tests/install` with `compiler` and its `options`, and runs it where no variable helps the loader.
fn build_and_run(name: &str, compiler: &str, source: &str, options: &[String]) {
    let work = prefix().join("work").join(name);
    fs::create_dir_all(&work).expect("a directory");
    let program = work.join("program");
    let standard = if Path::new(source).extension().is_some_and(|it| it == "cpp") { "-std=c++17" } else { "-std=c99" };
    let mut compile = Command::new(compiler);
    compile.args([standard, "-Wall", "-Wextra", "-pedantic", "-Werror", "-O1", "-o", text(&program)]);
    compile.arg(project().join("tests/install").join(source)).args(options);
    run_tool(&mut compile, ADVICE);
    run(&program, &work);
}

fn run(program: &Path, work: &Path) {
    let _ = fs::remove_dir_all(work.join("logs"));
    fs::create_dir_all(work.join("logs")).expect("a directory");
    let said = run_tool(Command::new(program).arg(work.join("logs")).env_remove("LD_LIBRARY_PATH"), ADVICE);
    assert!(said.contains("1000 events") || said.contains("loaded"), "{}: {said}", program.display());
}

fn rpath() -> String {
    format!("-Wl,-rpath,{}/lib", prefix().display())
}

/// Nothing is written outside DESTDIR, every file is told, and the files inside name the places at run time.
#[test]
fn staged_below_destdir() {
    let stage = toolchain::fresh_directory("install-stage", false);
    let settings = ["PREFIX=/opt/engine".to_owned(), "LIBDIR=/opt/engine/lib64".to_owned()];
    let told = install(&[&settings[..], &[format!("DESTDIR={}", stage.display())]].concat());
    let below = |path: &PathBuf| text(path.strip_prefix(&stage).expect("below DESTDIR")).to_owned();
    let told: Vec<String> = told.iter().map(below).collect();
    let version = env!("CARGO_PKG_VERSION");
    for file in [
        "opt/engine/include/walrec.h",
        "opt/engine/include/walrec.hpp",
        &format!("opt/engine/lib64/libwalrec.so.{version}"),
        "opt/engine/lib64/libwalrec.so.0",
        "opt/engine/lib64/libwalrec.so",
        "opt/engine/lib64/libwalrec.a",
        "opt/engine/lib64/pkgconfig/walrec.pc",
        "opt/engine/lib64/cmake/walrec/walrec-config.cmake",
        "opt/engine/share/man/man3/walrec.3",
    ] {
        assert!(told.iter().any(|one| one == file), "{file} is not installed: {told:?}");
    }
    let count = run_tool(Command::new("find").arg(&stage).args(["!", "-type", "d"]), ADVICE).lines().count();
    assert_eq!(count, told.len(), "files that were not told");
    for file in ["pkgconfig/walrec.pc", "cmake/walrec/walrec-config.cmake", "cmake/walrec/walrec-config-version.cmake"]
    {
        let path = stage.join("opt/engine/lib64").join(file);
        let written = fs::read_to_string(&path).expect("a text");
        assert!(!written.contains('@') && !written.contains(text(&stage)), "{}:\n{written}", path.display());
    }
    let _ = fs::remove_dir_all(&stage);
}

/// A relative prefix is refused, and nothing is written.
#[test]
fn a_relative_prefix_is_refused() {
    let mut make = Command::new("make");
    make.args(["-s", "install", "PREFIX=somewhere"]).current_dir(project()).env_remove("MAKEFLAGS");
    let output = make.output().expect("make is here");
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("somewhere"), "{output:?}");
    assert!(!project().join("somewhere").exists());
}

/// The installed library is stripped, exports what it is to export, and depends on libc and libgcc_s alone.
#[test]
fn the_library_is_lean() {
    let library = prefix().join("lib/libwalrec.so");
    let needed = run_tool(Command::new("readelf").arg("-d").arg(&library), ADVICE);
    let needed: Vec<&str> = needed.lines().filter(|line| line.contains("(NEEDED)")).collect();
    let allowed = ["[libc.so.6]", "[libgcc_s.so.1]", "[ld-linux-x86-64.so.2]", "[ld-linux-aarch64.so.1]"];
    for line in &needed {
        assert!(allowed.iter().any(|one| line.contains(one)), "{line}");
    }
    let names = run_tool(Command::new("nm").args(["-D", "--defined-only"]).arg(&library), ADVICE);
    let mut names: Vec<&str> = names.lines().filter_map(|line| line.split_whitespace().nth(2)).collect();
    names.sort_unstable();
    let kept = fs::read_to_string(project().join("tests/exported_symbols.txt")).expect("the list");
    assert_eq!(names, kept.lines().collect::<Vec<_>>());
    let bytes = fs::metadata(&library).expect("the library").len();
    assert!(bytes <= 1 << 20, "{bytes} bytes");
    announce(&format!("FIGURE libwalrec.so, installed: {bytes} bytes"));
}

/// Each function has its manual page, in the prefix and in the package.
#[test]
fn by_man() {
    if !has("man", "the manual") {
        return;
    }
    let page = |function: &str| {
        let mut man = Command::new("man");
        man.arg("-M").arg(prefix().join("share/man")).args(["3", function]).env("LC_ALL", "C.UTF-8");
        man.output().expect("man is here")
    };
    let exported = fs::read_to_string(project().join("tests/exported_symbols.txt")).expect("the list");
    for function in exported.lines() {
        assert!(prefix().join(format!("share/man/man3/{function}.3")).is_file(), "{function} has no page");
    }
    let shown = page("walrec_append");
    assert!(shown.status.success() && String::from_utf8_lossy(&shown.stdout).contains("SYNOPSIS"), "{shown:?}");
    assert!(!page("walrec_nothing").status.success());
}

#[test]
fn by_pkg_config() {
    if !has("pkg-config", "pkg-config") {
        return;
    }
    assert_eq!(flags(&["--modversion"]), [env!("CARGO_PKG_VERSION")]);
    let options = [flags(&["--cflags", "--libs"]), vec![rpath()]].concat();
    for compiler in ["gcc", "clang"] {
        if has(compiler, "pkg-config with it") {
            build_and_run(&format!("pkg-config-{compiler}"), compiler, "consumer.c", &options);
        }
    }
    for compiler in ["g++", "clang++"] {
        if has(compiler, "pkg-config with it") {
            build_and_run(&format!("pkg-config-{compiler}"), compiler, "consumer.cpp", &options);
        }
    }
    let private = flags(&["--static", "--cflags", "--libs"]);
    let private: Vec<String> =
        private.into_iter().map(|one| if one == "-lwalrec" { "-l:libwalrec.a".into() } else { one }).collect();
    build_and_run("pkg-config-static", "gcc", "consumer.c", &private);
}

/// The Debian packages, installed into a root of their own by dpkg, whose dependencies are those of the library; a program is built
/// from that root and run with it.
#[test]
fn by_debian_packages() {
    if !has("dpkg-deb", "the Debian packages") {
        return;
    }
    let mut make = Command::new("make");
    make.args(["--no-print-directory", "-s", "deb"]).current_dir(project()).env_remove("MAKEFLAGS");
    let printed = run_tool(&mut make, "make deb failed.");
    let packages: Vec<PathBuf> = printed
        .lines()
        .map(|line| project().join(line))
        .filter(|path| path.extension() == Some("deb".as_ref()))
        .collect();
    assert_eq!(packages.len(), 2, "{printed}");
    let root = toolchain::fresh_directory("install-deb", false);
    for directory in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers"] {
        fs::create_dir_all(root.join(directory)).expect("a directory");
    }
    fs::write(root.join("var/lib/dpkg/status"), "").expect("a file");
    let mut dpkg = Command::new("dpkg");
    dpkg.arg(format!("--root={}", root.display())).args(["--force-depends", "--force-not-root", "-i"]).args(&packages);
    run_tool(&mut dpkg, "The packages could not be installed.");
    let fields = run_tool(Command::new("dpkg-deb").arg("-f").arg(&packages[0]).arg("Depends"), ADVICE);
    assert!(fields.starts_with("libc6 (>= 2.") && fields.trim_end().ends_with("libgcc-s1"), "{fields}");
    assert!(root.join("usr/share/man/man3/walrec_append.3.gz").is_file(), "the manual is in no package");
    let listing = run_tool(Command::new("find").arg(root.join("usr")).args(["-name", "walrec.pc"]), ADVICE);
    let pc = Path::new(listing.trim()).parent().expect("the package has walrec.pc").to_owned();
    let mut tool = Command::new("pkg-config");
    tool.args(["--cflags", "--libs", "walrec"]).env("PKG_CONFIG_LIBDIR", &pc).env("PKG_CONFIG_SYSROOT_DIR", &root);
    tool.env("PKG_CONFIG_ALLOW_SYSTEM_CFLAGS", "1").env("PKG_CONFIG_ALLOW_SYSTEM_LIBS", "1");
    let mut options: Vec<String> = run_tool(&mut tool, ADVICE).split_whitespace().map(str::to_owned).collect();
    options.push(format!("-Wl,-rpath,{}", pc.parent().expect("lib").display()));
    build_and_run("deb-cpp", "g++", "consumer.cpp", &options);
    let _ = fs::remove_dir_all(&root);
}

#[test]
fn by_plain_options() {
    let root = prefix().display();
    let options = [format!("-I{root}/include"), format!("-L{root}/lib"), "-lwalrec".into(), rpath()];
    build_and_run("plain-c", "gcc", "consumer.c", &options);
    build_and_run("plain-cpp", "g++", "consumer.cpp", &options);
}

/// Compiles `tests/install/beside.rs` to a static library, by a toolchain that rustup has.
fn beside(toolchain: Option<&str>) -> Option<PathBuf> {
    let library = prefix().join(format!("work/libbeside-{}.a", toolchain.unwrap_or("same")));
    fs::create_dir_all(library.parent().expect("below work")).expect("a directory");
    let mut rustc = Command::new("rustc");
    rustc.args(toolchain.map(|name| format!("+{name}"))).args(["--edition", "2024", "-O", "--crate-type", "staticlib"]);
    rustc.arg("-o").arg(&library).arg(project().join("tests/install/beside.rs")).env_remove("RUSTUP_TOOLCHAIN");
    rustc.output().is_ok_and(|output| output.status.success()).then_some(library)
}

/// Two libraries in Rust in one program, both static, also with standard libraries of two versions: the installed one shows its own
/// names only. The archive as cargo makes it cannot be linked so.
#[test]
fn beside_another_rust_library() {
    let installed = prefix().join("lib/libwalrec.a");
    let symbols = run_tool(Command::new("readelf").arg("-sW").arg(&installed), ADVICE);
    let shown = symbols.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let shown = shown.filter(|row| row.len() == 8 && ["GLOBAL", "WEAK"].contains(&row[4]) && row[6] != "UND");
    let mut shown: Vec<String> = shown.map(|row| row[7].to_owned()).collect();
    shown.sort_unstable();
    let kept = fs::read_to_string(project().join("tests/exported_symbols.txt")).expect("the list");
    assert_eq!(shown, kept.lines().collect::<Vec<_>>());

    let same = beside(None).expect("rustc is here, and builds");
    // The other library, made in the same way, still catches what unwinds in it.
    let localized = same.with_file_name("libbeside-localized.a");
    let script = format!("echo beside_sum | packaging/localize.sh '{}' '{}'", same.display(), localized.display());
    run_tool(Command::new("bash").args(["-c", &script]).current_dir(project()), "localize.sh failed.");
    let nightly = beside(Some("nightly"));
    if nightly.is_none() {
        announce("SKIP install: two versions of Rust in one program did NOT run: there is no nightly toolchain here");
    }
    let options = |walrec: &Path, other: &Path| -> Vec<String> {
        let include = format!("-I{}/include", prefix().display());
        [&include, text(walrec), text(other), "-pthread", "-ldl", "-lm", "-lgcc_s"].map(str::to_owned).to_vec()
    };
    for (name, other) in
        [("same", &same), ("localized", &localized)].into_iter().chain(nightly.iter().map(|it| ("nightly", it)))
    {
        build_and_run(&format!("beside-{name}"), "g++", "beside.cpp", &options(&installed, other));
        build_and_run(&format!("beside-{name}-first"), "g++", "beside.cpp", &options(other, &installed));
    }
    if let Some(other) = nightly {
        let raw = toolchain::library_directory().join("libwalrec.a");
        let mut link = Command::new("g++");
        link.args(["-std=c++17", "-o", "/dev/null"]).arg(project().join("tests/install/beside.cpp"));
        let output = link.args(options(&raw, &other)).output().expect("g++ is here");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && said.contains("multiple definition"),
            "the archive of cargo links:\n{said}"
        );
    }
    let bytes = fs::metadata(&installed).expect("the library").len();
    announce(&format!("FIGURE libwalrec.a, installed: {bytes} bytes, {} names", shown.len()));
}

#[test]
fn by_dlopen() {
    let options = [format!("-I{}/include", prefix().display()), "-ldl".into(), rpath()];
    build_and_run("dlopen", "gcc", "dlopen.c", &options);
}

/// Also from a tree that was moved after it was installed; a version that is not there is refused.
#[test]
fn by_cmake() {
    if !has("cmake", "CMake") {
        return;
    }
    let moved = toolchain::fresh_directory("install-moved", false);
    install(&["PREFIX=/opt/engine".to_owned(), format!("DESTDIR={}", moved.display())]);
    for (name, root) in [("cmake", prefix().to_owned()), ("cmake-moved", moved.join("opt/engine"))] {
        let build = prefix().join("work").join(name);
        let mut configure = Command::new("cmake");
        configure.arg("-S").arg(project().join("tests/install")).arg("-B").arg(&build);
        configure.arg(format!("-DCMAKE_PREFIX_PATH={}", root.display()));
        run_tool(&mut configure, ADVICE);
        run_tool(Command::new("cmake").arg("--build").arg(&build), ADVICE);
        for program in ["walrec_c", "walrec_cpp", "walrec_static_c", "walrec_static_cpp"] {
            run(&build.join(program), &build);
        }
    }
    let list = moved.join("CMakeLists.txt");
    for version in ["0.2", "1", "0.1.99"] {
        let script =
            format!("cmake_minimum_required(VERSION 3.13)\nproject(p C)\nfind_package(walrec {version} REQUIRED)\n");
        fs::write(&list, script).expect("a file");
        let mut configure = Command::new("cmake");
        configure.arg("-S").arg(&moved).arg("-B").arg(moved.join(format!("build-{version}")));
        configure.arg(format!("-DCMAKE_PREFIX_PATH={}", prefix().display()));
        let output = configure.output().expect("cmake is here");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("compatible"), "{version}: {said}");
    }
    let _ = fs::remove_dir_all(&moved);
}
