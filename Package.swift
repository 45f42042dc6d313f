// swift-tools-version: 6.3
import PackageDescription

// `make fuzz` builds everything with libFuzzer's instrumentation, into a directory of its own.
let isFuzzing = Context.environment["PENSTOCK_FUZZ"] != nil

// One list for every Swift target. `unsafe` is therefore a compiler-checked word: it appears only
// in the C boundary, the POSIX disk and the byte codecs (see TidyTests).
let settings: [SwiftSetting] =
  [
    .swiftLanguageMode(.v6),
    .strictMemorySafety(),  // SE-0458
    .treatAllWarnings(as: .error),  // SE-0480
    .enableUpcomingFeature("ExistentialAny"),  // SE-0335
    .enableUpcomingFeature("InternalImportsByDefault"),  // SE-0409
    .enableUpcomingFeature("MemberImportVisibility"),  // SE-0444
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),  // SE-0461
    .enableUpcomingFeature("InferIsolatedConformances"),  // SE-0470
    .enableUpcomingFeature("ImmutableWeakCaptures"),  // SE-0481
  ] + (isFuzzing ? [.unsafeFlags(["-sanitize=fuzzer,address", "-enable-testing"])] : [])

// Debug builds can break a promise on purpose, so that the safety tests can be seen to notice.
let sabotage: [SwiftSetting] = [.define("PENSTOCK_SABOTAGE", .when(configuration: .debug))]

let argumentParser: Target.Dependency = .product(
  name: "ArgumentParser", package: "swift-argument-parser")
let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")
// CoreMetrics, not Metrics: the latter imports FoundationEssentials.
let metrics: Target.Dependency = .product(name: "CoreMetrics", package: "swift-metrics")
let lifecycle: Target.Dependency = .product(
  name: "ServiceLifecycle", package: "swift-service-lifecycle")
let lifecycleTestKit: Target.Dependency = .product(
  name: "ServiceLifecycleTestKit", package: "swift-service-lifecycle")
let unixSignals: Target.Dependency = .product(
  name: "UnixSignals", package: "swift-service-lifecycle")
// The hub's alone: it brings Foundation, which the agent must not link.
let grdb: Target.Dependency = .product(name: "GRDB", package: "GRDB.swift")
let grdbSQLite: Target.Dependency = .product(name: "GRDBSQLite", package: "GRDB.swift")
let nioCore: Target.Dependency = .product(name: "NIOCore", package: "swift-nio")
let nioPosix: Target.Dependency = .product(name: "NIOPosix", package: "swift-nio")
let nioHTTP1: Target.Dependency = .product(name: "NIOHTTP1", package: "swift-nio")

func module(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
  .target(name: name, dependencies: dependencies, swiftSettings: settings)
}

func tests(
  _ name: String, _ dependencies: [Target.Dependency] = [], exclude: [String] = []
) -> Target {
  .testTarget(
    name: "\(name)Tests", dependencies: [.byName(name: name)] + dependencies,
    exclude: exclude, swiftSettings: settings)
}

let package = Package(
  name: "penstock",
  products: [
    .executable(name: "penstock", targets: ["penstock"]),
    .executable(name: "penstock-hub", targets: ["penstock-hub"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
    .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
    .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
    .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
  ],
  targets: [
    // C: one module map and one shim header over each system library.
    .systemLibrary(
      name: "CMosquitto", pkgConfig: "libmosquitto", providers: [.apt(["libmosquitto-dev"])]),
    .systemLibrary(name: "COpenSSL", pkgConfig: "openssl", providers: [.apt(["libssl-dev"])]),
    .systemLibrary(name: "CYAML", pkgConfig: "yaml-0.1", providers: [.apt(["libyaml-dev"])]),
    .systemLibrary(name: "CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"])]),
    .systemLibrary(name: "CSodium", pkgConfig: "libsodium", providers: [.apt(["libsodium-dev"])]),
    .systemLibrary(name: "CPostgres", pkgConfig: "libpq", providers: [.apt(["libpq-dev"])]),
    .systemLibrary(name: "CLinux"),
    .target(
      name: "CChecksum",
      cSettings: [.unsafeFlags(["-O2"] + (isFuzzing ? ["-fsanitize=address"] : []))]),

    // Words and the operating system.
    module("GatewayCore"),
    .target(
      name: "Platform", dependencies: ["CLinux", "GatewayCore"],
      swiftSettings: settings + sabotage),
    module("JSONScanning", ["GatewayCore"]),
    // Keeps one assertion of the library from ending the process.
    .target(name: "CMosquittoGuard", dependencies: ["CMosquitto"]),
    module(
      "Mosquitto",
      ["CMosquitto", "CMosquittoGuard", "COpenSSL", "GatewayCore", "Platform", logging]),

    // The data path, in order.
    .target(
      name: "Ingest",
      dependencies: [
        "GatewayCore", "Platform", "Mosquitto", "Filtering", "Deduplication", "RingJournal",
        "JSONScanning", logging, metrics,
      ], swiftSettings: settings + sabotage),
    module("Filtering", ["GatewayCore", "JSONScanning", "Deduplication"]),
    module("Deduplication", ["GatewayCore", "JSONScanning", "CSodium"]),
    module("RingJournal", ["GatewayCore", "Platform", "CChecksum", "CLinux"]),
    module("Envelope", ["GatewayCore", "JSONScanning", "CZstd"]),
    module("Batching", ["GatewayCore", "RingJournal", "Envelope"]),
    module(
      "Upstream",
      [
        "GatewayCore", "Platform", "Mosquitto", "Batching", "Envelope", "RingJournal", logging,
        metrics,
      ]),

    // Composition.
    module(
      "GatewayConfiguration",
      [
        "CYAML", "GatewayCore", "Platform", "Mosquitto", "Ingest", "Filtering", "Deduplication",
        "RingJournal", "Envelope", "Batching", "Upstream", "Observability",
      ]),
    module(
      "Observability",
      ["GatewayCore", "Platform", logging, metrics, lifecycle, nioCore, nioPosix, nioHTTP1]),
    module(
      "Control", ["GatewayCore", "JSONScanning", "Platform", logging, lifecycle]),
    .target(
      name: "Gateway",
      dependencies: [
        "GatewayCore", "Platform", "Control", "Envelope", "Ingest", "Batching", "Upstream",
        "RingJournal", "Filtering", "Deduplication", "JSONScanning", "Mosquitto",
        "GatewayConfiguration", "Observability", logging, metrics, lifecycle, unixSignals,
      ], swiftSettings: settings + sabotage),
    module("PumpTelemetry", ["GatewayCore", "JSONScanning"]),
    // Decisions of the hub, without I/O.
    module("AlertRules", ["GatewayCore", "JSONScanning", "GatewayConfiguration"]),
    module("Maintenance", ["GatewayCore", "JSONScanning"]),
    module(
      "Audit",
      [
        "GatewayCore", "JSONScanning", "Platform", "Mosquitto", "Envelope", "PumpTelemetry",
        logging,
      ]),
    .executableTarget(
      name: "penstock",
      dependencies: [
        "Gateway", "GatewayConfiguration", "Audit", "PumpTelemetry", "RingJournal", "Mosquitto",
        "Envelope", "Batching", "Upstream", "JSONScanning", "Platform", "GatewayCore",
        "Observability", "Control", "Ingest", argumentParser, logging, metrics,
      ],
      swiftSettings: settings),

    // The consumer at the centre.
    .target(
      name: "Hub",
      dependencies: [
        "CPostgres", "GatewayCore", "Platform", "JSONScanning", "Envelope", "Mosquitto",
        "PumpTelemetry",
        "AlertRules", "Maintenance", "Deduplication", "GatewayConfiguration", "Observability", grdb,
        grdbSQLite, logging, metrics, lifecycle, unixSignals,
      ], swiftSettings: settings + sabotage),
    .executableTarget(
      name: "penstock-hub",
      dependencies: [
        "AlertRules", "Envelope", "Hub", "GatewayConfiguration", "GatewayCore", "JSONScanning",
        "Maintenance", "Mosquitto", "Observability", "Platform",
        argumentParser, logging, metrics, lifecycle, unixSignals,
      ],
      swiftSettings: settings),

    // Tests.
    tests("GatewayCore"),
    tests("Platform", ["GatewayCore"]),
    tests("JSONScanning", ["GatewayCore", "AllocationCounting"]),
    tests(
      "Mosquitto", ["CMosquitto", "COpenSSL", "GatewayCore", "Platform", "TestSupport", logging]),
    tests("Filtering", ["GatewayCore", "JSONScanning", "Deduplication", "AllocationCounting"]),
    tests("Deduplication", ["GatewayCore", "JSONScanning", "AllocationCounting"]),
    tests(
      "RingJournal",
      ["GatewayCore", "Platform", "CChecksum", "AllocationCounting", "JournalSimulation"],
      exclude: ["Golden"]),
    tests(
      "Envelope", ["GatewayCore", "JSONScanning", "Platform", "AllocationCounting"],
      exclude: ["Fixtures"]),
    tests(
      "GatewayConfiguration",
      [
        "GatewayCore", "Platform", "Mosquitto", "Ingest", "Deduplication", "RingJournal",
        "Envelope", "Batching", "Upstream", "Observability",
      ], exclude: ["Fixtures"]),
    tests(
      "Observability",
      ["GatewayCore", "Platform", logging, metrics, lifecycle, nioCore, nioPosix, lifecycleTestKit]
    ),
    tests(
      "Gateway",
      [
        "GatewayConfiguration", "GatewayCore", "Mosquitto", "Observability", "Platform",
        "RingJournal", "TestSupport", "Upstream", logging,
      ]),
    tests("PumpTelemetry", ["GatewayCore", "JSONScanning"]),
    tests(
      "AlertRules", ["GatewayConfiguration", "GatewayCore", "JSONScanning", "TestSupport"]),
    tests("Maintenance", ["GatewayCore", "JSONScanning", "TestSupport"]),
    tests("Control", ["GatewayCore", "Platform", logging, lifecycle, lifecycleTestKit]),
    tests(
      "Ingest",
      [
        "GatewayCore", "Platform", "Mosquitto", "Filtering", "Deduplication", "RingJournal",
        "AllocationCounting", logging,
      ]),
    tests(
      "Batching",
      ["GatewayCore", "Platform", "RingJournal", "Envelope", "Audit", "JournalSimulation"]),
    tests(
      "Upstream",
      ["GatewayCore", "Platform", "Mosquitto", "Batching", "RingJournal", "Envelope", logging]),
    tests(
      "Audit",
      ["GatewayCore", "Platform", "Mosquitto", "Envelope", "PumpTelemetry", "AllocationCounting"]),
    tests(
      "Hub",
      [
        "AlertRules", "Envelope", "GatewayConfiguration", "GatewayCore", "Maintenance", "Platform",
        "PumpTelemetry", "TestSupport", grdb, logging,
      ]),
    // The hub, gateways and brokers as processes.
    .testTarget(
      name: "HubProcessTests",
      dependencies: [
        "Audit", "Envelope", "GatewayCore", "Hub", "Mosquitto", "Platform", "PumpTelemetry",
        "TestSupport", "penstock", "penstock-hub", grdb, logging,
      ],
      swiftSettings: settings + sabotage),
    .testTarget(
      name: "CrashTests",
      dependencies: ["Audit", "GatewayCore", "Platform", "PumpTelemetry", "penstock"],
      swiftSettings: settings),
    .testTarget(
      name: "IntegrationTests",
      dependencies: [
        "Audit", "Control", "Envelope", "GatewayCore", "JSONScanning", "Mosquitto",
        "Observability", "Platform", "PumpTelemetry", "RingJournal", "TestSupport", "penstock",
        logging,
      ],
      swiftSettings: settings + sabotage),
    // Real disks that fail: loop mounts, power cuts, injected errors. The C header is theirs alone.
    .systemLibrary(name: "CFilesystemFaults", path: "Tests/CFilesystemFaults"),
    .testTarget(
      name: "PowerTests",
      dependencies: [
        "Audit", "CFilesystemFaults", "GatewayCore", "Platform", "PumpTelemetry", "TestSupport",
        "penstock",
      ],
      swiftSettings: settings),
    // Brokers and networks that misbehave: scripted peers, network namespaces.
    .testTarget(
      name: "NetworkTests",
      dependencies: [
        "Audit", "Batching", "Deduplication", "Envelope", "GatewayConfiguration", "GatewayCore",
        "Ingest", "Mosquitto", "Platform", "PumpTelemetry", "RingJournal", "TestSupport",
        "Upstream",
        "penstock", logging,
      ],
      swiftSettings: settings + sabotage),
    .testTarget(
      name: "TidyTests", dependencies: ["GatewayCore", "Platform"], swiftSettings: settings),
    // Interposes malloc: for tests and benchmarks, never below a product.
    .target(name: "CAllocationCounter", cSettings: [.unsafeFlags(["-O2"])]),
    module("AllocationCounting", ["CAllocationCounter"]),
    // A disk that misbehaves, a model that knows what must be there, and the program that plays
    // both against each other: no product.
    .target(
      name: "JournalSimulation", dependencies: ["GatewayCore", "Platform", "RingJournal"],
      path: "Tests/JournalSimulation", swiftSettings: settings),
    .executableTarget(
      name: "journal-torture",
      dependencies: [
        "GatewayCore", "Platform", "RingJournal", "JournalSimulation", argumentParser,
      ],
      path: "Tests/JournalTorture", swiftSettings: settings),
    .target(
      name: "TestSupport", dependencies: ["GatewayCore", "JSONScanning", "Platform"],
      path: "Tests/TestSupport",
      swiftSettings: settings),
  ]
)

// The benchmarks of `make bench`; ordinary builds never see them.
if Context.environment["PENSTOCK_BENCHMARKS"] != nil {
  package.targets += [
    .executableTarget(
      name: "bare-subscriber", dependencies: ["CMosquitto"],
      path: "Sources/Benchmarks/BareSubscriber"),
    .executableTarget(
      name: "load-publisher", dependencies: ["CMosquitto"],
      path: "Sources/Benchmarks/LoadPublisher"),
    .executableTarget(
      name: "penstock-benchmarks",
      dependencies: [
        "Audit", "Deduplication", "Envelope", "Filtering", "GatewayCore", "Hub", "Ingest",
        "Mosquitto", "Platform", "PumpTelemetry", "RingJournal", logging, metrics,
        grdbSQLite,
      ],
      path: "Sources/Benchmarks/PenstockBenchmarks", swiftSettings: settings),
  ]
}

// The fuzz targets are one source: a test that replays the kept inputs, or a program that searches
// for new ones.
let fuzzTargets: [Target.Dependency] = [
  "Deduplication", "Envelope", "GatewayConfiguration", "GatewayCore", "JSONScanning", "Platform",
  "RingJournal",
]
if isFuzzing {
  package.targets += [
    .systemLibrary(name: "CFuzzer", path: "Tests/Fuzz/CFuzzer"),
    .target(
      name: "FuzzTargets", dependencies: fuzzTargets, path: "Tests/Fuzz/Targets",
      swiftSettings: settings),
    .executableTarget(
      name: "penstock-fuzz", dependencies: ["CFuzzer", "FuzzTargets", "Platform"],
      path: "Tests/Fuzz/Runner",
      swiftSettings: settings,
      linkerSettings: [.unsafeFlags(["-sanitize=fuzzer,address", "-use-ld=lld"])]),
  ]
} else {
  package.targets.append(
    .testTarget(
      name: "FuzzTests", dependencies: fuzzTargets, path: "Tests/Fuzz",
      exclude: ["CFuzzer", "Corpus", "Dictionaries", "Runner", "fuzz.sh"],
      swiftSettings: settings))
}
