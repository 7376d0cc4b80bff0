//! What a change at the top of a statement returns of its target.

use sqlparser::ast::{
    Expr, Ident, ObjectNamePart, SelectItem, SelectItemQualifiedWildcardKind, Statement,
    TableObject,
};

use super::Walker;
use super::blocks::plain;
use crate::sql::blocks::Output;
use crate::sql::vocabulary::names_current_value;

impl Walker {
    /// To be called once the walk has been through the change and its block.
    pub(super) fn note_returning(&mut self, statement: &Statement, block: Option<usize>) {
        let target = match (statement, block) {
            (Statement::Insert(insert), _) => {
                let alias = insert.table_alias.as_ref().map(|alias| plain(&alias.alias));
                alias.or_else(|| match &insert.table {
                    TableObject::TableName(name) => match name.0.last()? {
                        ObjectNamePart::Identifier(ident) => Some(plain(ident)),
                        ObjectNamePart::Function(_) => None,
                    },
                    _ => None,
                })
            }
            (_, Some(block)) => self.blocks.get(block).and_then(|block| {
                let target = block.sources.first()?;
                (!target.renamed).then(|| target.alias.clone())
            }),
            _ => None,
        };
        let alone = block
            .and_then(|block| self.blocks.get(block))
            .is_none_or(|block| block.sources.len() == 1);
        let items = match statement {
            Statement::Insert(insert) => insert.returning.as_deref(),
            Statement::Update(update) => update.returning.as_deref(),
            Statement::Delete(delete) => delete.returning.as_deref(),
            _ => None,
        };
        self.returns = items.is_some();
        let outputs: Option<Vec<Output>> = target.and_then(|target| {
            let items = items.unwrap_or_default().iter();
            items.map(|item| output(item, &target, alone)).collect()
        });
        self.returning = outputs.unwrap_or_default();
    }
}

/// `None`: it is not known how many columns it is. `alone`: nothing but the target is in reach.
fn output(item: &SelectItem, target: &str, alone: bool) -> Option<Output> {
    match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
            Some(column(expr, target))
        }
        SelectItem::Wildcard(_) => alone.then_some(Output::All),
        SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
            match name.0.as_slice() {
                [ObjectNamePart::Identifier(ident)] if plain(ident) == target => Some(Output::All),
                _ => None,
            }
        }
        SelectItem::QualifiedWildcard(..) | SelectItem::ExprWithAliases { .. } => None,
    }
}

fn column(expression: &Expr, target: &str) -> Output {
    let word = |ident: &Ident| {
        ident.quote_style.is_none() && names_current_value(&ident.value.to_ascii_lowercase())
    };
    match expression {
        Expr::Nested(inner) => column(inner, target),
        Expr::Identifier(ident) if !word(ident) => Output::Column(plain(ident)),
        Expr::CompoundIdentifier(idents) => match idents.as_slice() {
            [qualifier, name] if plain(qualifier) == target => Output::Column(plain(name)),
            _ => Output::Other,
        },
        _ => Output::Other,
    }
}
