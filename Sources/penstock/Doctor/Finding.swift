import Control

/// What the doctor found at one place.
struct Finding {
  enum Level: String {
    case ok
    case warning
    case error
  }

  let level: Level
  /// What was looked at; stable, for programs: `disk.sync`, `broker.reachable`.
  let check: String
  /// Which one of several: a path, a broker, a route.
  let subject: String
  /// What was found.
  let text: String
  /// What to do; empty when there is nothing.
  let advice: String

  static func ok(_ check: String, _ subject: String, _ text: String) -> Finding {
    Finding(level: .ok, check: check, subject: subject, text: text, advice: "")
  }

  static func warning(
    _ check: String, _ subject: String, _ text: String, _ advice: String
  ) -> Finding {
    Finding(level: .warning, check: check, subject: subject, text: text, advice: advice)
  }

  static func error(
    _ check: String, _ subject: String, _ text: String, _ advice: String
  ) -> Finding {
    Finding(level: .error, check: check, subject: subject, text: text, advice: advice)
  }

  var json: JSONValue {
    JSONValue.object { object in
      object.put("level", level.rawValue)
      object.put("check", check)
      object.put("subject", subject)
      object.put("text", text)
      object.put("advice", advice.isEmpty ? nil : advice)
    }
  }
}
