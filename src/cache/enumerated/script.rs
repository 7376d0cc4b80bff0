//! A protocol, written down: what each actor of a case does, one step after the other.
//!
//! A broken rule is another script. Steps between two semicolons of [`script!`] are one move: nobody comes between them.

/// Moves of an actor, and the steps of each.
pub type Script<Step> = &'static [&'static [Step]];

macro_rules! script {
    ($($($step:expr),+);+ $(;)?) => { &[$(&[$($step),+] as &[_]),+] };
}
pub(super) use script;

/// Rows of one of the two relations. Their key is the value of one column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// The relation as a whole.
    All(usize),
    /// Some rows, nobody knows which.
    Some(usize),
    Key(usize, u64),
}

impl Rows {
    pub fn relation(self) -> usize {
        match self {
            Self::All(relation) | Self::Some(relation) | Self::Key(relation, _) => relation,
        }
    }

    /// Whether a read of `self` sees a write of `written`.
    pub fn sees(self, written: Rows) -> bool {
        let key = |rows| match rows {
            Self::Key(_, key) => Some(key),
            Self::All(_) | Self::Some(_) => None,
        };
        self.relation() == written.relation()
            && (key(self).is_none() || key(written).is_none() || key(self) == key(written))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Do {
    // What the product does, in its order.
    /// Looks at the catalogue, from which the footprint will be judged.
    Judge,
    /// The footprint: these rows, and what the trigger writes if [`Do::Judge`] saw one.
    Touch(Rows),
    /// The footprint of DDL.
    TouchCatalogue,
    /// These rows, of which what the statement returns may tell more.
    TouchLearnable(Rows),
    /// They tell this key.
    Learn(u64),
    Mark,
    /// Marks at the other node, and waits until it has.
    MarkRemote,
    /// The statement runs: with the trigger if there is one by now.
    Execute,
    /// What was written can be seen from here on.
    Commit,
    Settle(Happened),
    SettleRemote,
    /// ReadyForQuery `T`: marks off, what was touched stays pending.
    Release(Happened),
    /// The outcome is unknown, or the transaction prepared: the marks stay.
    Keep,
    /// The backend (or the gid) is gone.
    SettleKept(Happened),
    /// The client is told.
    Acknowledge,

    // Definitions that change.
    DropPicture,
    CreateTrigger,
    Widen,
    LoadPicture,

    // The server.
    /// It crashes, and loses what it had acknowledged before it was flushed.
    Crash,
    /// The guard is found lost: every entry is void.
    Void,

    // What only a broken rule does.
    /// Versions of these rows move; no mark.
    Bump(Rows),
    /// The same at the other node.
    BumpRemote(Rows),
    /// What was judged is said to be of the newest picture.
    Redate,
    /// The marks that learning made superfluous come off, and nothing has moved yet.
    UnmarkLoose,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happened {
    Yes,
    /// Surely aborted, or so it is thought.
    No,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// The question comes in.
    Ask,
    /// Served from memory, if what is there still stands: then this is the end.
    LookUp,
    /// Served from memory, if nobody is about to commit, whatever the versions say.
    LookUpMarksOnly,
    /// Joins another's flight, or leads one.
    Join,
    /// Follows: takes the other's answer once it has landed, if it may. Who leads passes this by.
    Wait,
    /// Takes it whatever has happened meanwhile.
    WaitAndTakeAny,
    /// The three steps of the birth of a class, if it is not born.
    Announce,
    Walk,
    Publish,
    /// The versions are read.
    Stamp,
    /// The leader says that its query leaves.
    Sent,
    /// The server takes the snapshot.
    Snapshot,
    /// Kept, if its stamp was clean and stands. A leader's flight lands.
    Store,
    /// Kept, if nobody is about to commit now.
    StoreUnlessMarked,
    /// Kept.
    StoreAlways,
    /// The client has its answer.
    Answer,
}

/// One who writes, or does something to the server or to the definitions.
#[derive(Debug, Clone)]
pub struct Writing {
    /// What it truly writes, whatever it says that it touches.
    pub writes: &'static [Rows],
    /// Done before anybody else begins.
    pub before: &'static [Do],
    pub script: Script<Do>,
}

#[derive(Debug, Clone)]
pub struct Reading {
    /// Which of the case's queries it asks.
    pub query: usize,
    /// The node that it asks.
    pub node: usize,
    /// Done before anybody else begins.
    pub before: &'static [Read],
    pub script: Script<Read>,
}

/// A small case.
#[derive(Debug, Clone)]
pub struct Case {
    pub writers: Vec<Writing>,
    pub readers: Vec<Reading>,
    /// What each query can see.
    pub queries: &'static [Rows],
    pub nodes: usize,
    /// A new connection proves that it leads to the guard's server before it is used.
    pub proves: bool,
    /// A trigger on relation 0 writes this whole relation, once there is one.
    pub trigger_writes: usize,
}

impl Writing {
    pub fn new(writes: &'static [Rows], script: Script<Do>) -> Self {
        Self {
            writes,
            before: &[],
            script,
        }
    }
}

impl Reading {
    pub fn new(query: usize, script: Script<Read>) -> Self {
        Self {
            query,
            node: 0,
            before: &[],
            script,
        }
    }

    pub fn at(self, node: usize) -> Self {
        Self { node, ..self }
    }
}
